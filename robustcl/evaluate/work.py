"""How the samples of a question are cut: fixed blocks, shares of them for several processes, and a time to stop."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robustcl.errors import UsageError

Told = Callable[[str, int, int], None]
"""Told (what is judged, samples done, samples in all)."""


def tell_nobody(what: str, done: int, total: int) -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class Work:
    """The part of the samples that this process judges.

    block: samples attacked together. Blocks are cut before they are shared out, so that one process and several
    attack the very same batches. shard: (i, n), this process takes every n-th block from the i-th on, counted from 0.
    worker: this process takes block after block beside others, of those that nobody has done yet, by leases.
    deadline: of ``time.monotonic``, after which no further block begins. told: hears how far the work is.
    witnesses: whether what fools is kept where a reported number counts it.
    """

    block: int = 250
    shard: tuple[int, int] = (0, 1)
    worker: bool = False
    deadline: float | None = None
    told: Told = tell_nobody
    witnesses: bool = True

    def blocks(self, index: Tensor) -> Sequence[Tensor]:
        """Return this process's blocks of index (n,)."""
        first, step = self.shard
        return torch.split(index, self.block)[first::step]

    @property
    def whole(self) -> bool:
        """Whether this process answers alone for all samples, and so keeps results, audits and pictures."""
        return self.shard == (0, 1) and not self.worker

    @property
    def occupies(self) -> tuple[int, int] | None:
        """The share of a folder's evaluation that nobody else may be at; ``None`` for workers, who take leases."""
        return None if self.worker else self.shard

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self.deadline is not None and time.monotonic() >= self.deadline


WHOLE = Work()
"""All of it, in one process and without haste."""


def parse_shard(text: str) -> tuple[int, int]:
    """Return (i - 1, n) of "i/n" with 1 <= i <= n; raises ``UsageError``."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    number, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= count:
        raise UsageError(f"--shard {text}: write the share and how many there are, from 1/4 to 4/4")
    return number - 1, count


def parse_time(text: str) -> float:
    """Return the seconds of "90s", "10m" or "2h"; raises ``UsageError``."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh])", text)
    if not found or float(found[1]) <= 0:
        raise UsageError(f'--budget {text}: write a time such as "90s", "10m" or "2h"')
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]
