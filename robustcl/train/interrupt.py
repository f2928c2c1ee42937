"""A signal ends training at the next step's border, where its state is whole; or after a while, if none is reached."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

import torch

from robustcl import ranks
from robustcl.processes import signals
from robustcl.train import companions

PATIENCE = 120.0
"""Seconds that several ranks have, from a signal on, to reach the next border together."""


class Interrupt:
    """While this context is open, the first signal is remembered; a Ctrl-C after it stops at once.

    A rank that waits for another one inside a library sees no signal until that one answers. With ``patience``, by
    default where there are several ranks, the process ends so many seconds after a signal if the context is still open,
    and takes those that it has started with it; the last checkpoint is kept.
    """

    def __init__(self, patience: float | None = None) -> None:
        self.number: int | None = None
        self._handled: AbstractContextManager[None] | None = None
        self._patience = PATIENCE if patience is None and ranks.world() > 1 else patience
        self._watch: _Watch | None = None

    def __enter__(self) -> Self:
        self._handled = signals.handle(self._ask)
        self._handled.__enter__()
        if self._patience is not None and threading.current_thread() is threading.main_thread():
            self._watch = _Watch(self._patience)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._handled is not None
        if self._watch is not None:
            self._watch.close()
        self._handled.__exit__(kind, error, trace)

    def asked(self, device: torch.device) -> bool:
        """Say whether any rank was asked to stop."""
        asked = torch.tensor(float(self.number is not None), device=device)
        return bool(ranks.total(asked) > 0)

    def _ask(self, number: int) -> None:
        if self.number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number


class _Watch:
    """Hears of signals beside the main thread, which may be inside a library and hear nothing."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        # Written to as a signal arrives, before any handler of Python's runs.
        self._before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        """Hear no more."""
        signal.set_wakeup_fd(self._before)
        os.close(self._writing)  # ends the thread

    def _listen(self) -> None:
        numbers = {int(getattr(signal, name)) for name in signals.NAMES if hasattr(signal, name)}
        ends: float | None = None
        while True:
            left = None if ends is None else max(ends - time.monotonic(), 0.0)
            heard = bool(select.select([self._reading], [], [], left)[0])
            if not heard:
                companions.abandon()
            arrived = os.read(self._reading, 64) if heard else b""
            if not arrived:
                os.close(self._reading)
                return
            if ends is None and not numbers.isdisjoint(arrived):
                ends = time.monotonic() + self._patience
