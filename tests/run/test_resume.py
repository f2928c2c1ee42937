"""A run that was cut off at any moment, taken up again, ends with the very weights and numbers of one that was not."""

from __future__ import annotations

import json
import pickle
import random
import shutil
from pathlib import Path

import pytest
import torch

import robustcl
from robustcl.errors import CheckpointError
from robustcl.train import checkpoint, stage_files
from tests.shared import tiny

START = ("run", "tiny.toml", "--device", "cpu", "--out", "run")
RESUME = ("resume", "run")
MOMENTS = {
    "before a log line": 12,
    "within a log line": 12,
    "within a checkpoint": 6,
    "before a rename": 12,
}
"""Where a process is killed, and up to which call."""


def assert_same_outcome(run: Path, whole: Path) -> None:
    """Weights to the bit; metrics but for the seconds; the journal to the byte; passes; the numbers of the results."""
    kept = sorted(path.relative_to(whole) for path in whole.glob("stages/**/model.safetensors"))
    assert len(kept) == 5, "two stages, one follower, two classifiers"
    for path in kept:
        assert (run / path).read_bytes() == (whole / path).read_bytes(), path
    assert tiny.lines(run / "metrics.jsonl", "seconds") == tiny.lines(whole / "metrics.jsonl", "seconds")
    assert (run / "journal.jsonl").read_bytes() == (whole / "journal.jsonl").read_bytes()
    for stage in ("pretrain", "robust"):
        passes = [(checkpoint.newest(folder / "checkpoints" / stage)[0] or {})["passes"] for folder in (run, whole)]
        assert passes[0] == passes[1], stage
        assert passes[1]["weights"] > 0
        told = [stage_files.facts(folder, stage) or {} for folder in (run, whole)]
        assert told[0]["passes"] == told[1]["passes"] > 0
    results = [json.loads((folder / "results.json").read_text(encoding="utf-8")) for folder in (run, whole)]
    for key in ("rows", "security", "silhouette", "recipe_hash"):
        assert results[0][key] == results[1][key]


@pytest.mark.parametrize("seed", range(2))
def test_killed_runs_end_like_undisturbed_ones(seed: int, whole_run: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(tiny.RECIPE, encoding="utf-8")
    draw = random.Random(seed)
    moments = [(moment, draw.randint(1, highest)) for moment, highest in MOMENTS.items()]
    draw.shuffle(moments)
    # The first kill comes before there is any checkpoint, the last one while the run is judged.
    moments = [("within a log line", draw.randint(1, 2)), *moments, ("within the journal", draw.randint(2, 4))]
    legs = [tiny.Leg(RESUME if number else START, *moment) for number, moment in enumerate(moments)]
    ends = tiny.run_legs(tmp_path, [*legs, tiny.Leg(RESUME)])
    assert [ended.code for ended in ends] == [-9] * len(moments) + [0], (moments, ends)
    assert_same_outcome(tmp_path / "run", whole_run)


def test_a_run_that_lacks_nothing_stays_as_it_is_to_the_byte(whole_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole_run, tmp_path / "run"))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert robustcl.resume(run).results.tables == json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_ctrl_c_leaves_a_run_that_goes_on(stopped_run: Path, whole_run: Path, tmp_path: Path) -> None:
    shutil.copytree(stopped_run, tmp_path / "run")
    (ended,) = tiny.run_legs(tmp_path, [tiny.Leg(RESUME)])
    assert ended.code == 0, ended.said
    assert_same_outcome(tmp_path / "run", whole_run)


@pytest.mark.parametrize("damage", ["truncated", "bit-flipped", "without its seal"])
def test_a_damaged_checkpoint_is_passed_over_and_named(
    damage: str, stopped_run: Path, whole_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(stopped_run, tmp_path / "run")
    newest = max((tmp_path / "run/checkpoints/robust").glob("*.pt"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes({"truncated": newest.read_bytes()[:-100], "bit-flipped": bytes(content)}.get(damage, content))
    if damage == "without its seal":
        newest.with_suffix(".json").unlink()
    (ended,) = tiny.run_legs(tmp_path, [tiny.Leg(RESUME)])
    assert ended.code == 0, ended.said
    assert newest.name in ended.said
    assert "the one before it is used" in ended.said
    assert_same_outcome(tmp_path / "run", whole_run)


def test_without_any_valid_checkpoint_the_stage_starts_anew_and_says_so(
    stopped_run: Path, whole_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(stopped_run, tmp_path / "run")
    for path in (tmp_path / "run/checkpoints/robust").glob("*.pt"):
        path.write_bytes(b"nothing")
    (ended,) = tiny.run_legs(tmp_path, [tiny.Leg(RESUME)])
    assert ended.code == 0, ended.said
    assert "starts anew" in ended.said
    assert_same_outcome(tmp_path / "run", whole_run)


def test_a_checkpoint_of_another_recipe_is_refused(stopped_run: Path, tmp_path: Path) -> None:
    shutil.copytree(stopped_run, tmp_path / "run")
    lock = tmp_path / "run/recipe.lock.toml"
    text = lock.read_text(encoding="utf-8")
    assert 'name = "tiny"' in text
    lock.write_text(text.replace("steps = 2", "steps = 3"), encoding="utf-8")
    (ended,) = tiny.run_legs(tmp_path, [tiny.Leg(RESUME)])
    assert ended.code == 2
    assert "another recipe" in ended.said


class _Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (_sing, (str(self.path), "sang"))


def _sing(path: str, text: str) -> None:
    Path(path).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_a_pickle_in_place_of_a_checkpoint_is_not_executed(how: str, tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path / "checkpoints", 1, {"step": 1})
    canary = {"step": 1, "canary": _Canary(tmp_path / "canary")}
    if how == "pickle":
        path.write_bytes(pickle.dumps(canary, protocol=2))
    else:
        torch.save(canary, path)
    # The forger seals the file too.
    path.with_suffix(".json").write_text(json.dumps({"sha256": checkpoint._digest(path)}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint.read(path)
    state, passed = checkpoint.newest(path.parent)
    assert state is None
    assert len(passed) == 1
    assert not (tmp_path / "canary").exists()


def test_two_checkpoints_are_kept(tmp_path: Path) -> None:
    for step in range(1, 6):
        checkpoint.save(tmp_path, step, {"step": step})
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == ["step-000000004.pt", "step-000000005.pt"]
    assert checkpoint.newest(tmp_path) == ({"step": 5}, [])


def test_a_second_process_on_the_same_run_is_refused(stopped_run: Path, tmp_path: Path) -> None:
    import fcntl

    shutil.copytree(stopped_run, tmp_path / "run")
    with (tmp_path / "run/.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        (ended,) = tiny.run_legs(tmp_path, [tiny.Leg(RESUME)])
    assert ended.code == 2
    assert "another process is at work" in ended.said
