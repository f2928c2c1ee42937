"""The least that operations can take here: as long as in bare products of matrices, which nothing is faster than."""

from __future__ import annotations

import time

import torch

_SIDE = {"cpu": 1024, "cuda": 8192}
_TRIALS = 3
_SMALL = 1e15
"""Operations that are no matter of days anywhere: no product is measured for these."""


def least_hours(operations: float, device: str) -> float:
    """Return hours below which so many operations in 32 bits cannot be done on a device; 0 where they are few."""
    if operations < _SMALL:
        return 0.0
    kind = device.partition(":")[0]
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind not in _SIDE or (kind == "cuda" and not torch.cuda.is_available()):
        return 0.0
    side = _SIDE[kind]
    a = torch.ones((side, side), device=kind if device == "auto" else device)
    seconds = min(_product(a) for _ in range(_TRIALS))
    return operations * seconds / (2.0 * side**3) / 3600


def _product(a: torch.Tensor) -> float:
    started = time.monotonic()
    float((a @ a)[0, 0])  # waits for it
    return time.monotonic() - started
