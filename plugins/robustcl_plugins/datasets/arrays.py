"""What the data sets that lie in memory share."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from robustcl.errors import UsageError

SPLITS = ("pretrain", "train", "test")

Statistics = tuple[tuple[float, ...], tuple[float, ...]]


class ArraySource:
    """A split in memory: images (n, *item), uint8 or float32 in [0, 1]; labels (n,) int64, -1 for none."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = images
        self.labels = labels
        self.item = tuple(images.shape[1:])

    def fetch(self, index: Tensor) -> Tensor:
        """Return images (B, *item) for index (B,) int64."""
        return self.images[index]


def unlabeled(n: int) -> Tensor:
    """Return n times "no label", (n,) int64."""
    return torch.full((n,), -1, dtype=torch.int64)


def check_split(split: str) -> None:
    """Raise UsageError for a split that no data set has."""
    if split not in SPLITS:
        raise UsageError(f"there is no split {split!r}: ask for one of {', '.join(SPLITS)}")


def channel_statistics(images: Tensor) -> Statistics:
    """Return mean and standard deviation of each channel over images (n, C, ...) and pixels, in [0, 1].

    The deviation is at least 1/255, so that a constant channel can be normalised.
    """
    scale = 255.0 if images.dtype == torch.uint8 else 1.0
    means, deviations = [], []
    for channel in range(images.shape[1]):
        values = images[:, channel].double() / scale
        means.append(float(values.mean()))
        deviations.append(max(float(values.std(correction=0)), 1 / 255))
    return tuple(means), tuple(deviations)


def by_path(what: str) -> str:
    """Return the flags that give a data set its path, for the end of a sentence: not every command has both."""
    return f"(--set data.path={what}, or --data-dir {what} beside --dataset)"


def expanded(path: str) -> Path:
    """Return the path with ``~`` replaced by the user's home."""
    return Path(path).expanduser()
