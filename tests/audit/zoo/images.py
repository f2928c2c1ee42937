"""scikit-learn's digits as tensors, split once."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from sklearn.datasets import load_digits
from torch import Tensor

TESTED = 360


@dataclass(frozen=True)
class Tensors:
    """Images (n, *item) and labels (n,) held in memory, as the judge reads them."""

    x: Tensor
    labels: Tensor

    @property
    def item(self) -> tuple[int, ...]:
        return tuple(self.x.shape[1:])

    @property
    def samples(self) -> int:
        return len(self.x)

    @property
    def device(self) -> torch.device:
        return self.x.device

    def fetch(self, index: Tensor) -> Tensor:
        return self.x[index]

    def batches(self, order: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        for index in order:
            yield index, self.fetch(index)


@functools.cache
def digits() -> tuple[Tensors, Tensors]:
    """Return training and test digits (1, 8, 8) in [0, 1]."""
    bunch = load_digits()
    order = torch.randperm(len(bunch.target), generator=torch.Generator().manual_seed(0))
    x = torch.from_numpy(bunch.images).float().div(16.0)[order, None]
    y = torch.from_numpy(bunch.target).long()[order]
    return Tensors(x[:-TESTED], y[:-TESTED]), Tensors(x[-TESTED:], y[-TESTED:])
