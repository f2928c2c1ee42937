"""What tests on a real engine share: their tasks, and what is said where the engine cannot run."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from robustcl.tasks import Event, Task

PATIENCE = 240.0


def without(engine: str, reason: str) -> None:
    """Skip, unless whoever runs the tests relies on the engine."""
    if engine in os.environ.get("ROBUSTCL_REQUIRE", ""):
        pytest.fail(f"ROBUSTCL_REQUIRE asks for {engine}, but {reason}")
    pytest.skip(reason)


def a_task(folder: Path, name: str, code: str, *after: str) -> Task:
    """Return a task that notes each of its runs in NAME.runs, runs the code, and leaves its outcome."""
    lines = [
        "import os, pathlib, signal, sys, time",
        f"runs, go = pathlib.Path({str(folder / name)!r} + '.runs'), pathlib.Path({str(folder / name)!r} + '.go')",
        "open(runs, 'a').write('x')",
        code,
        f"open({str(folder / name)!r} + '.done', 'w').close()",
    ]
    command = (sys.executable, "-c", "\n".join(lines))
    return Task(name, command, folder / f"{name}.done", folder / "logs" / f"{name}.log", folder, after)


WAIT = "while not go.exists(): time.sleep(0.05)"
"""Code of a task that goes on once NAME.go is there."""


def runs(folder: Path, name: str) -> int:
    """Return how often a task ran."""
    file = folder / f"{name}.runs"
    return len(file.read_text()) if file.exists() else 0


def wait_until(done: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end, f"{what}: that does not come"
        time.sleep(0.1)


class Launching:
    """A launch in a thread of its own: what it has told so far."""

    def __init__(self, launcher: Any, tasks: Sequence[Task], folder: Path) -> None:
        self.events, self.error = list[Event](), list[BaseException]()
        self._thread = threading.Thread(target=self._run, args=(launcher, tasks, folder), daemon=True)
        self._thread.start()

    def _run(self, launcher: Any, tasks: Sequence[Task], folder: Path) -> None:
        try:
            self.events.extend(launcher.launch(tasks, folder))
        except BaseException as error:
            self.error.append(error)

    def states(self, name: str) -> list[str]:
        """Return the states of a task once all have ended, but words on the way."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), f"it has not ended: {self.events}"
        assert not self.error, self.error
        return [event.state for event in self.events if event.task == name and event.state != "waits"]


def in_a_world_of_its_own(work: Callable[[], str]) -> str:
    """Return what some work returns, done by a process whose mounts are nobody else's."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        said = "this machine lets nobody have mounts of his own"
        try:
            if ctypes.CDLL(None).unshare(_NEW_MOUNTS) == 0:
                said = work()
        except BaseException as error:
            said = repr(error)
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with open(reading) as pipe:
        return pipe.read()


_NEW_MOUNTS = 0x00020000


def hide(folder: Path) -> bool:
    """Lay a disk of this process alone over a folder."""
    commands = (["mount", "--make-rprivate", "/"], ["mount", "-t", "tmpfs", "none", str(folder)])
    return all(subprocess.run(command, capture_output=True).returncode == 0 for command in commands)
