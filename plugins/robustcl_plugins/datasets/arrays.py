"""What the data sets that lie in memory share."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from robustcl.errors import UsageError

SPLITS = ("pretrain", "train", "test")


def unlabeled(n: int) -> Tensor:
    """Return n times "no label", (n,) int64."""
    return torch.full((n,), -1, dtype=torch.int64)


def check_split(split: str) -> None:
    """Raise UsageError for a split that no data set has."""
    if split not in SPLITS:
        raise UsageError(f"there is no split {split!r}: ask for one of {', '.join(SPLITS)}")


def by_path(what: str) -> str:
    """Return the flags that give a data set its path, for the end of a sentence: not every command has both."""
    return f"(--set data.path={what}, or --data-dir {what} beside --dataset)"


def expanded(path: str) -> Path:
    """Return the path with ``~`` replaced by the user's home."""
    return Path(path).expanduser()
