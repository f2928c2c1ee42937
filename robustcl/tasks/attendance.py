"""A task's process, attended until it ends: on the machine where it runs, by whoever a launcher has sent there."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping

from robustcl.disk import make_folder
from robustcl.disk.trouble import say_why
from robustcl.processes import signals
from robustcl.tasks.task import Task, encode_task

GRACE = 60.0
"""Seconds that a process has to save what it has, from being asked to end until it is killed."""
_LOOK = 0.05


def attend(
    task: Task,
    environment: Mapping[str, str] | None = None,
    wanted: Callable[[], bool] = lambda: True,
    hear: Callable[[int], None] = lambda number: None,
) -> int:
    """Run a task's command to its end, its output added to the task's log; return its exit code, -N after signal N.

    Args:
        task: it.
        environment: variables beside those of this process.
        wanted: asked all the time; once it says no, the command is asked to end by SIGTERM, and killed after ``GRACE``.
        hear: is told the number of each signal that this process gets.

    A signal that this process gets is handed to the command, which then has as long. Outside of the main thread no
    signal arrives.

    Raises:
        DiskError: the log cannot be written, or the program not be started.
    """
    make_folder(task.log.parent)
    try:
        with open(task.log, "ab") as log:
            process = subprocess.Popen(
                task.command, cwd=task.folder, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
    except OSError as error:
        raise say_why(error.filename or task.log, error, "used") from None
    ended = threading.Event()

    def answer(number: int) -> None:
        hear(number)
        _end(process, number, ended)

    with process, signals.handle(answer):
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(_LOOK)
            if not wanted() and not ended.is_set():
                _end(process, signal.SIGTERM, ended)


def command_of(task: Task) -> tuple[str, ...]:
    """Return the command of a process that attends a task for as long as its standard input stays open."""
    return (sys.executable, "-P", "-m", "robustcl.tasks", encode_task(task))


def _end(process: subprocess.Popen[bytes], number: int, ended: threading.Event) -> None:
    """Hand a signal to the command, and kill it and what it has started where it does not end of it."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
    if not ended.is_set():
        ended.set()
        killer = threading.Timer(GRACE, _kill, [process])
        killer.daemon = True
        killer.start()


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.name == "posix":
                os.killpg(process.pid, signal.SIGKILL)  # what it has started, workers that read images, too
            else:
                process.kill()
