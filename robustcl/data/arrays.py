"""Splits that are one array, in memory or on disk, as sources."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from robustcl.data.rows import BLOCK, FileRows


class ArraySource:
    """A split in memory: images (n, *item), uint8 or floats in [0, 1]; labels (n,) int64, -1 for none.

    ``images`` may be a view of any strides, as of channels that stand last; what ``fetch`` gives is contiguous.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = images
        self.labels = labels
        self.item = tuple(images.shape[1:])

    def fetch(self, index: Tensor) -> Tensor:
        """Return images (B, *item) for index (B,) int64."""
        return self.images[index].contiguous()


class DiskSource:
    """A split on disk: the rows of an array, with the channels where they stand; what a batch needs is read for it."""

    on_disk: ClassVar[bool] = True

    def __init__(self, images: DiskImages, labels: Tensor) -> None:
        self.images = images
        self.labels = labels
        self.item = images.item

    def fetch(self, index: Tensor) -> Tensor:
        """Return images (B, *item), uint8 or floats, for index (B,) int64. Raises DataError."""
        return self.images.take(index)


class DiskImages:
    """Rows of a file as images: ``channels`` is their axis, 1 or the last; None where there is none, for one channel.

    ``item`` is the shape of one image, channels first.
    """

    def __init__(self, rows: FileRows, channels: int | None) -> None:
        self.rows, self.channels = rows, channels
        self.item = tuple(arrange(torch.empty((0, *rows.shape[1:]), dtype=torch.uint8), channels).shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: Tensor) -> Tensor:
        """Return images (B, *item) for index (B,) int64."""
        found = self.rows.take(index.cpu().numpy())
        kept = found.astype(kept_type(found.dtype), copy=False)
        return arrange(torch.from_numpy(kept), self.channels).contiguous()


def arrange(images: Tensor, channels: int | None) -> Tensor:
    """Return a view (n, C, ...) of images whose channels stand at an axis, or that have none (None)."""
    return images.unsqueeze(1) if channels is None else images.movedim(channels, 1)


def kept_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type in which an array is kept: in this machine's byte order, floats in at most 32 bits."""
    native = dtype.newbyteorder("=")
    return np.dtype(np.float32) if native.kind == "f" and native.itemsize > 4 else native


def blocks(images: Tensor | DiskImages) -> Iterator[Tensor]:
    """Go through images (n, C, ...) a few at a time."""
    n = len(images)
    width = images.rows.width if isinstance(images, DiskImages) else images.element_size() * max(images[:1].numel(), 1)
    step = max(BLOCK // max(width, 1), 1)
    for start in range(0, n, step):
        index = torch.arange(start, min(start + step, n))
        yield images.take(index) if isinstance(images, DiskImages) else images[start : start + step]
