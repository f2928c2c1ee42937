"""Images as the training loop and the judge see them, and a part of them under new indices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor


class Images(Protocol):
    """A split, held or streamed: labels (n,) int64, n samples of shape ``item``, float32 in [0, 1] on ``device``."""

    item: tuple[int, ...]
    labels: Tensor
    samples: int
    device: torch.device

    def fetch(self, index: Tensor) -> Tensor:
        """Return images (B, *item) for index (B,) int64."""
        ...

    def batches(self, order: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through batches of indices: (index, images), both on the device."""
        ...


class Subset:
    """Some images of a split, numbered anew from 0; ``rows`` (m,) int64 are their numbers in the split."""

    def __init__(self, images: Images, rows: Tensor) -> None:
        self.images = images
        self.rows = rows.cpu()
        self.item = images.item
        self.device = images.device
        self.labels = images.labels[rows.to(images.labels.device)]
        self.samples = len(rows)

    def fetch(self, index: Tensor) -> Tensor:
        """Return images (B, *item) for index (B,) int64."""
        return self.images.fetch(self.rows[index.cpu()])

    def batches(self, order: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through batches of indices: (index, images), both on the device."""
        inner = self.images.batches([self.rows[index.cpu()] for index in order])
        for index, (_, images) in zip(order, inner, strict=True):
            yield index.to(self.device), images
