"""Processes that train together: changed once for all of them, and watched for as long as they work together."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from robustcl.errors import Interrupted, UsageError
from robustcl.processes.lost import RANK
from robustcl.run.execution import resume
from robustcl.train import companions
from robustcl.train.world import LAUNCHER
from tests.shared import short, tiny
from tests.shared.forks import Asked, fork_all


def _begin(folder: Path) -> None:
    """Leave a run of one process that was stopped in its first epoch."""

    def watcher(stage: str, step: int, *rest: Any) -> None:
        if step == 3:
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        short.composed(short.stage(epochs=2)).train(
            folder, device="cpu", precision="64-true", watcher=watcher, report=False
        )


SETTING = "stage.it.epochs=3"


def _on_two_machines(folder: Path, *moment: tuple[str, int]) -> list[Asked]:
    """Return a process on each of two machines, as torchrun starts them; the second may have a moment of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    shared |= {"TORCHELASTIC_RUN_ID": "none", "MASTER_PORT": port}
    command = ["resume", folder.name, "--set", SETTING]
    return [
        Asked(command, folder.parent, {**tiny.environment(), **shared, "RANK": rank, "GROUP_RANK": rank}, after=after,
              moment=dict(enumerate(moment)).get(int(rank) - 1))
        for rank, after in (("1", 0.0), ("0", 2.0))
    ]  # fmt: skip


def test_one_run_on_two_machines_learns_what_one_process_does_and_outlives_one_of_them(tmp_path: Path) -> None:
    """The second process is there long before the first one changes the lock, and would learn an epoch less."""
    _begin(tmp_path / "run")
    for name in ("lost", "alone"):
        shutil.copytree(tmp_path / "run", tmp_path / name)
    ends = fork_all([
        *_on_two_machines(tmp_path / "run"),
        *_on_two_machines(tmp_path / "lost", ("before a log line", 2)),
    ])  # fmt: skip
    said = [ended.stderr for ended in ends]
    assert [ended.returncode for ended in ends] == [0, 0, -signal.SIGKILL, 1], said
    assert RANK in said[3], said
    with pytest.raises(UsageError, match=r"lost was trained on 2 machines: .* --num-nodes 1"):
        resume(tmp_path / "lost")
    resume(tmp_path / "lost", num_nodes=1, report=False)
    resume(tmp_path / "alone", [SETTING], report=False)
    (entry,) = tomllib.loads((tmp_path / "run/recipe.lock.toml").read_text(encoding="utf-8"))["lock"]["history"]
    assert entry["set"] == [SETTING]
    kept = {name: json.loads((tmp_path / name / "run.json").read_text(encoding="utf-8")) for name in ("run", "lost")}
    assert [(one["devices"], one["num_nodes"]) for one in kept.values()] == [(1, 2), (1, 1)]
    alone = tiny.lines(tmp_path / "alone/metrics.jsonl", "seconds")
    assert [line["step"] for line in alone] == list(range(1, len(alone) + 1))
    assert alone[-1]["epoch"] == 3
    for name in ("run", "lost"):
        for mine, expected in zip(tiny.lines(tmp_path / name / "metrics.jsonl", "seconds"), alone, strict=True):
            assert mine.pop("stage") == expected["stage"]
            assert mine == pytest.approx({key: expected[key] for key in mine}, rel=1e-6, abs=1e-9)


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The codes with which this process would have been ended."""
    codes: list[int] = []
    monkeypatch.setattr(companions, "GRACE", 0.0)
    monkeypatch.setattr(companions, "_at_work", threading.Event())
    monkeypatch.setattr(os, "_exit", codes.append)
    monkeypatch.setattr(companions.subprocess_script, "_launch_process_observer", companions._children)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv(LAUNCHER, str(os.getpid()))
    yield codes
    companions.release()


def _look(happened: bool) -> threading.Thread:
    thread = threading.Thread(target=companions._look, args=(lambda: happened, lambda: None), daemon=True)
    thread.start()
    thread.join(1.0)
    return thread


def test_a_process_whose_run_is_done_survives_the_others(ended: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    companions.look_after(starts=True)
    companions.release()
    thread = _look(True)
    assert (ended, thread.is_alive()) == ([], True)
    companions.look_after(starts=True)  # the next run of the same script
    thread.join(30)
    assert ended == [1]
    assert "another process of this run has ended" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="other systems tell nothing of a process by its number")
def test_a_process_that_is_loaded_after_its_parent_has_died_ends(
    ended: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for number, lives in ((str(os.getpid()), True), ("", True), (str(gone.pid), False)):
        assert companions._lives(number) is lives
    companions.look_after(starts=True)
    monkeypatch.setenv(LAUNCHER, str(gone.pid))
    before = threading.active_count()
    companions.follow_parent()
    for thread in threading.enumerate()[before:]:
        thread.join(30)
    assert ended == [1]
