"""The processes that train together: where one dies, the others end within a minute, with a sentence, and never wait.

A library of collectives notices a dead peer at once where it speaks over sockets, and on GPUs often not at all: each
process therefore looks after those that it has started, and after the one that started it. Those that others have
started, on several machines perhaps, hear each other's heartbeat.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from lightning_fabric.strategies.launchers import subprocess_script

from robustcl.errors import Interrupted
from robustcl.processes.lost import RANK, STUCK
from robustcl.train.heartbeat import Heartbeat
from robustcl.train.world import LAUNCHER

GRACE = 10.0
"""Seconds in which a process that has lost another one may end by itself."""

_at_work = threading.Event()
_started: list[subprocess.Popen[Any]] = []
_hearts: list[Heartbeat] = []


def look_after(*, starts: bool) -> None:
    """Let the launcher's own observer, which kills without a word, be ours; call before processes are started.

    ``starts``: whether it is this process that starts them.
    """
    _at_work.set()
    if starts:
        os.environ[LAUNCHER] = str(os.getpid())
    subprocess_script._launch_process_observer = _children


def release() -> None:
    """Let each process go its own way: a script may do more after its run, in one process longer than in another."""
    _at_work.clear()
    if _hearts:
        _hearts.pop().stop()


def listen() -> None:
    """End this process after one of the others has ended, on whichever machine; all call it once they have met."""
    heart = Heartbeat()
    _hearts.append(heart)
    _in_background(lambda: heart.lost, lambda: None)


def follow_parent() -> None:
    """End this process, one of those that were started, after the one that started it has died."""
    parent = os.getppid()
    orphaned = not _lives(os.environ.get(LAUNCHER, ""))  # it may have died while we were being loaded
    _in_background(lambda: orphaned or os.getppid() != parent, lambda: None)


def _lives(number: str) -> bool:
    """Say whether a process is there, as far as the system tells."""
    if os.name != "posix" or not number.isdigit():
        return True
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def abandon() -> NoReturn:
    """End this process, which was asked to end and waits for another one, and those that it has started; code 130."""
    _end_started()
    sys.stderr.write(f"robustcl: {STUCK}\n")
    sys.stderr.flush()
    os._exit(Interrupted.exit_code)


def _children(child_processes: list[subprocess.Popen[Any]]) -> None:
    _started[:] = child_processes
    _in_background(lambda: any(process.poll() for process in child_processes), _end_started)


def _end_started() -> None:
    for process in _started:
        if process.poll() is None:
            process.kill()


def _in_background(happened: Callable[[], bool], end: Callable[[], None]) -> None:
    threading.Thread(target=_look, args=(happened, end), daemon=True).start()


def _look(happened: Callable[[], bool], end: Callable[[], None]) -> None:
    while True:
        while not (_at_work.is_set() and happened()):
            time.sleep(0.5)
        time.sleep(GRACE)  # who fails orderly, or is told by the collectives, has a sentence of its own by then
        if _at_work.is_set():
            break
    end()
    sys.stderr.write(f"robustcl: {RANK}\n")
    sys.stderr.flush()
    os._exit(1)
