"""A signal ends training at the next step's border, where its state is whole."""

from __future__ import annotations

import signal
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

import torch

from robustcl import ranks, signals


class Interrupt:
    """While this context is open, the first signal is remembered; a Ctrl-C after it stops at once."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._handled: AbstractContextManager[None] | None = None

    def __enter__(self) -> Self:
        self._handled = signals.handled(self._ask)
        self._handled.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._handled is not None
        self._handled.__exit__(kind, error, trace)

    def asked(self, device: torch.device) -> bool:
        """Say whether any rank was asked to stop."""
        asked = torch.tensor(float(self.number is not None), device=device)
        return bool(ranks.total(asked) > 0)

    def _ask(self, number: int) -> None:
        if self.number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number
