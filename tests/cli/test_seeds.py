"""``robustcl compose --seeds N``: a study of one row in a folder of its own, taken up by the same command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tomli_w
from click.testing import CliRunner

from robustcl.cli import compose
from robustcl.errors import UsageError
from robustcl.study.grammar import source
from tests.shared import tiny


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    file = tmp_path / "mine.toml"
    file.write_text(tomli_w.dumps(tiny.tables(budget={"smoke": {"stage.robust.epochs": 1}})), encoding="utf-8")
    return file


def run(*words: str) -> Any:
    return CliRunner().invoke(compose.command, [*words])


def test_several_seeds_are_a_study_of_one_row(recipe: Path, tmp_path: Path) -> None:
    words = ["--recipe", str(recipe), "--budget", "smoke", "--seeds", "2", "--out", str(tmp_path / "out")]
    first = run(*words)
    assert first.exit_code == 0, first.output
    assert "± is the standard deviation over seeds" in first.output
    assert "no recipe here trains" not in first.output
    assert sorted(path.name for path in (tmp_path / "out" / "runs").iterdir()) == ["tiny-seed0", "tiny-seed1"]
    study = source.read(str(tmp_path / "out" / "study.toml"), dataset=None, budget="smoke")
    assert [column.name for column in study.column] == ["SA", *tiny.tables()["evaluate"][0]["attacks"]]
    again = run(*words)
    assert "finished already" in again.output, "the same command goes on"
    with pytest.raises(UsageError, match="holds another study than these flags compose"):
        raise run(*words, "--encoder", "resnet-18").exception


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--seeds", "2", "--seed", "3"), "--seed 3 and --seeds 2: seeds count from 0"),
        (("--slots", "2"), "--slots is for several runs: add --seeds N"),
        (("--launcher", "local"), "--launcher is for several runs: add --seeds N"),
        (("--seeds", "2", "--devices", "2"), "--devices 2 and --seeds: each seed is one process"),
        (("--seeds", "2", "--launcher", "slrum"), "launcher called 'slrum'"),
    ],
)
def test_flags_that_contradict_each_other(recipe: Path, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    found = run("--recipe", str(recipe), "--budget", "smoke", "--out", str(tmp_path / "out"), *words)
    assert isinstance(found.exception, UsageError), found.output
    assert said in str(found.exception)
