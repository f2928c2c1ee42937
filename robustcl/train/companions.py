"""The processes that train together: where one dies, the others end within seconds, with a sentence, and never wait.

A library of collectives notices a dead peer at once where it speaks over sockets, and on GPUs often not at all: each
process therefore looks after those that it has started, and after the one that started it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from lightning_fabric.strategies.launchers import subprocess_script

from robustcl.lost import RANK

GRACE = 10.0
"""Seconds in which a process that has lost another one may end by itself."""


def look_after() -> None:
    """Let the launcher's own observer, which kills without a word, be ours; call before processes are started."""
    subprocess_script._launch_process_observer = _children


def follow_parent() -> None:
    """End this process, one of those that were started, after the one that started it has died."""
    parent = os.getppid()
    _in_background(lambda: os.getppid() != parent, lambda: None)


def _children(child_processes: list[subprocess.Popen[Any]]) -> None:
    def end() -> None:
        for process in child_processes:
            if process.poll() is None:
                process.kill()

    def failed() -> bool:
        return any(process.poll() for process in child_processes)

    _in_background(failed, end)


def _in_background(happened: Callable[[], bool], end: Callable[[], None]) -> None:
    threading.Thread(target=_look, args=(happened, end), daemon=True).start()


def _look(happened: Callable[[], bool], end: Callable[[], None]) -> None:
    while not happened():
        time.sleep(0.5)
    time.sleep(GRACE)  # who fails orderly, or is told by the collectives, has a sentence of its own by then
    end()
    sys.stderr.write(f"robustcl: {RANK}\n")
    sys.stderr.flush()
    os._exit(1)
