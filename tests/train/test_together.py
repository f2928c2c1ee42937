"""Processes that train together: changed once for all of them, and watched for as long as they work together."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from robustcl.errors import Interrupted
from robustcl.train import companions
from tests.shared import short, tiny
from tests.shared.forks import Asked, fork_all


def _begun(folder: Path) -> None:
    """Leave a run of two processes that was stopped in its first epoch."""

    def watcher(stage: str, step: int, *rest: Any) -> None:
        if step == 3:
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        short.composed(short.stage(epochs=2)).train(folder, device="cpu", watcher=watcher, report=False)
    options = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    (folder / "run.json").write_text(json.dumps({**options, "devices": 2}), encoding="utf-8")


def test_processes_of_torchrun_are_changed_once_and_all_go_on_by_it(tmp_path: Path) -> None:
    """The second one is there long before the first one changes the lock, and would learn an epoch less."""
    _begun(tmp_path / "run")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= {"TORCHELASTIC_RUN_ID": "none", "GROUP_RANK": "0"}
    command = ["resume", "run", "--set", "stage.it.epochs=3"]
    ends = fork_all([
        Asked(command, tmp_path, {**tiny.environment(), **shared, "RANK": rank, "LOCAL_RANK": rank}, after=after)
        for rank, after in (("1", 0.0), ("0", 2.0))
    ])  # fmt: skip
    assert [ended.returncode for ended in ends] == [0, 0], [ended.stderr for ended in ends]
    (entry,) = tomllib.loads((tmp_path / "run/recipe.lock.toml").read_text(encoding="utf-8"))["lock"]["history"]
    assert entry["set"] == ["stage.it.epochs=3"]
    lines = tiny.lines(tmp_path / "run/metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    assert lines[-1]["epoch"] == 3


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The codes with which this process would have been ended."""
    codes: list[int] = []
    monkeypatch.setattr(companions, "GRACE", 0.0)
    monkeypatch.setattr(companions, "_at_work", threading.Event())
    monkeypatch.setattr(os, "_exit", codes.append)
    monkeypatch.setattr(companions.subprocess_script, "_launch_process_observer", companions._children)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv(companions._LAUNCHER, str(os.getpid()))
    yield codes
    companions.release()


def _look(happened: bool) -> threading.Thread:
    thread = threading.Thread(target=companions._look, args=(lambda: happened, lambda: None), daemon=True)
    thread.start()
    thread.join(1.0)
    return thread


def test_a_process_whose_run_is_done_survives_the_others(ended: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    companions.look_after()
    companions.release()
    thread = _look(True)
    assert (ended, thread.is_alive()) == ([], True)
    companions.look_after()  # the next run of the same script
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
    companions.look_after()
    monkeypatch.setenv(companions._LAUNCHER, str(gone.pid))
    before = threading.active_count()
    companions.follow_parent()
    for thread in threading.enumerate()[before:]:
        thread.join(30)
    assert ended == [1]
