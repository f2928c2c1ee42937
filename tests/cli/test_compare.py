"""``robustcl compare`` as a process: what it prints, what it writes, and how it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from robustcl.cli import console
from robustcl.cli.compare import command
from tests.shared import tiny
from tests.shared.compared_runs import finished, first
from tests.shared.forks import fork


def call(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return fork(["compare", *map(str, words)], Path.cwd(), tiny.environment())


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [
        finished(tmp_path / f"{name}-{seed}", {None: first(k + seed, 100), "pgd-20": first(k // 2, 100)}, name=name,
                 seed=seed)
        for name, k in (("ncp", 90), ("deacl", 60))
        for seed in range(2)
    ]  # fmt: skip


def test_prints_markdown_and_writes_by_suffix(runs: list[Path], tmp_path: Path) -> None:
    done = call(*runs, "--baseline", runs[2])
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "| ncp    |     2 | **90.50 ± 0.71** |" in done.stdout
    assert "significantly better" in done.stdout
    out = tmp_path / "table.json"
    written = call(*runs, "--metric", "clean_acc", "--out", out)
    assert (written.returncode, written.stdout) == (0, f"comparison: {out}\n")
    assert {row["metric"] for row in json.loads(out.read_text())["rows"]} == {"clean_acc"}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_mixed_table_leaves_with_2_and_one_sentence(runs: list[Path], tmp_path: Path) -> None:
    other = finished(tmp_path / "z", {None: first(9, 10)}, name="z")
    done = call(*runs, other)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "robustcl: these runs were not measured alike: number of images differs: 100 (" in done.stderr


def invoke(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["robustcl", "compare", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        console.main()
    return int(left.value.code or 0), capsys.readouterr().err


def test_mistakes_are_one_sentence_with_code_2(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "old.md").write_text("mine")
    mistakes = [
        ([runs[0], tmp_path / "nowhere"], "nowhere does not exist: name the directory of a finished run"),
        ([runs[0], tmp_path / "empty"], "has no results.json"),
        ([runs[0]], "needs two runs or more"),
        ([*runs, "--baseline", "nobody"], "--baseline nobody is none of the runs"),
        ([*runs, "--metric", "aa"], "no run has a number for --metric aa --split test"),
        ([*runs, "--out", tmp_path / "old.md"], "exists already"),
        ([*runs, "--out", tmp_path / "no" / "t.md"], "cannot be written"),
    ]
    for words, sentence in mistakes:
        code, said = invoke(monkeypatch, capsys, *words)
        assert code == 2
        assert sentence in said.replace(", --split", " --split")
        assert said.count("\n") == 1
    assert (tmp_path / "old.md").read_text() == "mine"
    assert invoke(monkeypatch, capsys, *runs, "--out", tmp_path / "old.md", "--force")[0] == 0
    assert (tmp_path / "old.md").read_text() != "mine"


def test_help_names_every_choice() -> None:
    shown = CliRunner().invoke(command, ["--help"]).output
    for word in ("--by", "--baseline", "--allow-mixed", "--format", "--force", "--split", "Holm"):
        assert word in shown


@pytest.mark.parametrize("form", ["markdown", "latex", "csv", "html", "json"])
def test_every_format_is_printed(runs: list[Path], form: str) -> None:
    done = CliRunner().invoke(command, [*map(str, runs), "--format", form])
    assert done.exit_code == 0, done.output
    assert ("PGD-20" if form in ("markdown", "latex") else "pgd-20") in done.output
