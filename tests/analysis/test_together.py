"""Processes that judge together come to what one alone comes to, to the byte, also where one of them is killed."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from robustcl.cli import console, evaluate
from robustcl.errors import UsageError
from robustcl.evaluate import workers
from tests.shared import tiny
from tests.shared.forks import Asked, fork_all

MODULE = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""
MODEL = ["evaluate", "--model", "one_linear:build", "--dataset", "digits", "--attack", "pgd-20", "--attack", "fgsm"]
MODEL += ["--samples", "12", "--block", "3", "--device", "cpu", "--no-audit"]


def main() -> None:
    """Be a command that waits less long for the dead."""
    workers.PATIENCE, workers.BEAT, workers.PAUSE = 1.0, 0.1, 0.1
    console.main()


def together(folder: Path, *asked: tuple[Sequence[str], tuple[str, int] | None]) -> list[tuple[int, str]]:
    """Run commands at the same time; return how each ended."""
    environment = {**tiny.environment(), "PYTHONPATH": str(folder)}
    done = fork_all([
        Asked(line, folder, environment, f"{__name__}:main", moment, together=True) for line, moment in asked
    ])  # fmt: skip
    return [(one.returncode, one.stdout) for one in done]


def results(folder: Path) -> Mapping[str, Any]:
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return {key: value for key, value in found.items() if key not in ("finished", "timing", "environment")}


def hold_beside(made: Path, alone: Path) -> None:
    """Hold a folder's journal, to the byte, results and pictures beside those of one process."""
    assert (made / "journal.jsonl").read_bytes() == (alone / "journal.jsonl").read_bytes()
    assert results(made) == results(alone)
    names = [{path.relative_to(folder).as_posix() for path in folder.glob("a*/*")} for folder in (made, alone)]
    assert names[0] == names[1]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "one_linear.py").write_text(MODULE, encoding="utf-8")
    return tmp_path


def test_a_model_is_judged_by_two_of_whom_one_is_killed(place: Path) -> None:
    line = [*MODEL, "--out", "shared", "--worker"]
    # Killed before the other begins, which finds its lease: of two that begin at once it might come when all is judged.
    alone, killed = together(place, ([*MODEL, "--out", "alone"], None), (line, ("within the journal", 3)))
    assert list((place / "shared" / ".workers").glob("*/*.lease")), "it was at a block"
    (other,) = together(place, (line, None))
    assert [alone[0], killed[0], other[0]] == [0, -9, 0], (alone, killed, other)
    hold_beside(place / "shared", place / "alone")
    before = (place / "shared" / "results.json").read_bytes()
    ((code, said),) = together(place, (line, None))
    assert code == 0, said
    assert (place / "shared" / "results.json").read_bytes() == before, "the same command again changes nothing"
    hold_beside(place / "shared", place / "alone")


def test_a_run_is_judged_by_two_and_its_classifiers_are_trained_once(whole_run: Path, tmp_path: Path) -> None:
    shutil.copytree(whole_run, tmp_path / "run")
    for trained in (tmp_path / "run" / "stages").glob("evaluate-*"):
        shutil.rmtree(trained)
    for name in ("journal.jsonl", "results.json"):
        (tmp_path / "run" / name).unlink()
    line = ["evaluate", "run", "--worker"]
    ends = together(tmp_path, (line, None), (line, None))
    assert [code for code, _ in ends] == [0, 0], ends
    assert sum(said.count("evaluate slf on route clean: 1 epochs") for _, said in ends) == 1
    hold_beside(tmp_path / "run", whole_run)


def test_two_ranks_judge_as_one_process_does(whole_run: Path, tmp_path: Path) -> None:
    shutil.copytree(whole_run, tmp_path / "run")
    options = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    (tmp_path / "run" / "run.json").write_text(json.dumps({**options, "devices": 2}), encoding="utf-8")
    for name in ("journal.jsonl", "results.json"):
        (tmp_path / "run" / name).unlink()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= {"TORCHELASTIC_RUN_ID": "none", "GROUP_RANK": "0", **tiny.environment()}
    ends = fork_all([
        Asked(["resume", "run"], tmp_path, {**shared, "RANK": rank, "LOCAL_RANK": rank}, together=True)
        for rank in ("0", "1")
    ])  # fmt: skip
    assert [ended.returncode for ended in ends] == [0, 0], [ended.stdout for ended in ends]
    hold_beside(tmp_path / "run", whole_run)
    assert len([*(tmp_path / "run").glob("journal.worker-*.jsonl")]) == 2


@pytest.mark.parametrize("other", ["--shard 1/2", "--budget 10m"])
def test_a_worker_has_no_share_and_no_budget(other: str, tmp_path: Path) -> None:
    ((code, said),) = together(tmp_path, (["evaluate", "run", "--worker", *other.split()], None))
    assert code == 2
    assert f"--worker and {other.split()[0]} contradict each other" in said


def test_a_launcher_brings_the_workers(place: Path) -> None:
    """As processes of their own; the command prints what they have come to."""
    line = [*MODEL, "--out"]
    ((alone, _),) = together(place, ([*line, "alone"], None))
    ((first, said),) = together(place, ([*line, "shared", "--slots", "2", "--json"], None))
    assert (alone, first) == (0, 0), said
    hold_beside(place / "shared", place / "alone")
    assert json.loads(said.splitlines()[-1])["rows"] == results(place / "alone")["rows"]
    assert sorted(file.name for file in (place / "shared" / "tasks").glob("*.log")) == ["worker-1.log", "worker-2.log"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--slots", "2", "--worker"), "--worker and --slots contradict each other"),
        (("--slots", "2", "--shard", "1/2"), "--slots and --shard contradict each other"),
        (("--launcher", "local", "--budget", "1s"), "--launcher and --budget contradict each other"),
        (("--launcher", "slrum"), "launcher called 'slrum'"),
        (("--slots", "2"), "--model by several workers needs --out"),
    ],
)
def test_workers_that_cannot_be_launched(more: tuple[str, ...], said: str, tmp_path: Path) -> None:
    out = [] if "needs --out" in said else ["--out", str(tmp_path / "out")]
    found = CliRunner().invoke(evaluate.command, [*MODEL[1:], *out, *more])
    assert isinstance(found.exception, UsageError), found.output
    assert said in str(found.exception)
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_not_there_is_said_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(evaluate.command, ["nowhere", "--slots", "2"])
    assert str(found.exception) == "there is no run directory nowhere"
    assert not list(tmp_path.iterdir())
