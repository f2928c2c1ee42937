"""What ``--dry-run`` says of the cost, with hours and without, for a recipe and for a study."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import tomli_w

from robustcl.cli import console
from tests.shared import tiny, tiny_study


def said(words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int = 0) -> str:
    monkeypatch.setattr(sys, "argv", ["robustcl", *words.split()])
    with pytest.raises(SystemExit) as left:
        console.main()
    told = capsys.readouterr()
    assert int(left.value.code or 0) == code, told.err
    return told.out if code == 0 else told.err


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(tiny.RECIPE, encoding="utf-8")
    (tmp_path / "study.toml").write_text(tomli_w.dumps(tiny_study.tables()), encoding="utf-8")


def test_days_are_warned_of_and_no_file_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    told = said("compose --recipe simclr --dataset stl10 --budget paper --dry-run --device cpu", monkeypatch, capsys)
    cost = told[told.index("\ncost ") :]
    assert "100,000 images, stl10 as published" in cost
    assert "days on this machine at the very least" in cost
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("there")
def test_hours_come_of_steps_that_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.iterdir())
    told = said("run tiny.toml --dry-run --time --device cpu", monkeypatch, capsys)
    head, *rows = told[told.index("\ncost ") :].splitlines()[2:8]
    assert head.split()[-1] == "hours"
    hours = {row.split("  ")[1]: float(row.split()[-1]) for row in rows}
    assert list(hours) == ["pretrain", "robust", "slf/slf", "slf: fgsm", "in all"]
    assert 0 < hours["pretrain"] < hours["in all"] < 1
    assert sorted(tmp_path.iterdir()) == before
    assert "--time measures for --dry-run" in said("run tiny.toml --time", monkeypatch, capsys, 2)


@pytest.mark.usefixtures("there")
def test_a_study_counts_once_what_its_runs_share(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = said("study study.toml --budget paper --dry-run", monkeypatch, capsys)
    rows = {row.split()[0]: row.split() for row in told[told.index("\ncost\n") :].splitlines()[3:6]}
    steps = {name: int(row[2 if name == "in" else 1]) for name, row in rows.items()}
    assert steps["near-seed0"] - steps["far-seed0"] == 1293 // 128, "the first stage is trained once"
    assert steps["in"] == steps["near-seed0"] + steps["far-seed0"]


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize(("change", "expected"), [
    ("encoder.projector.widths=[1000000000]", "an encoder of 9,0"),  # 8 features, and a billion outputs
    ("stage.robust.generator.steps=100000", "unknown: a step on noise fails: one step asks the encoder more than"),
    ("stage.robust.epochs=1000000000", " 5,000,000,000 "),
    ("stage.robust.targets.clusters=1000000000", "robust "),
])  # fmt: skip
def test_numbers_beyond_all_measure_take_no_time_and_no_memory(
    change: str, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = said(f"run tiny.toml --dry-run --set {change}", monkeypatch, capsys)
    assert expected in told[told.index("\ncost ") :]
