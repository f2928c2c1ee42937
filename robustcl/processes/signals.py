"""What ends a command from outside: Ctrl-C, and what a scheduler, a closing terminal or ``kill`` sends."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
"""SLURM sends SIGTERM and, where ``--signal`` asks for it, SIGUSR1 before its limit; a lost terminal sends SIGHUP."""


class Stopped(KeyboardInterrupt):
    """A signal arrived; like Ctrl-C it is no ``Exception``, so that no plugin's handler swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextlib.contextmanager
def handle(by: Callable[[int], None]) -> Iterator[None]:
    """While this context is open, call ``by`` with the number of each signal of ``NAMES``.

    A signal that is ignored already, as nohup ignores SIGHUP, stays ignored. Outside the main thread nothing changes.
    A forked process, a worker of a data loader say, dies of them as it would have without us.
    """
    before: dict[int, Any] = {}
    home = os.getpid()

    def answer(number: int, frame: FrameType | None) -> None:
        if os.getpid() == home:
            by(number)
            return
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, name) for name in NAMES if hasattr(signal, name)):
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, answer)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop(number: int) -> None:
    """End what is being done, wherever it is: what is kept is kept as a whole or not at all."""
    raise Stopped(number)
