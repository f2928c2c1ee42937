"""Images and an encoder that cost nothing, in place of those that a stage will have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from robustcl.protocols import Need
from robustcl.rng import Rng

_FEATURES = 16
_SIDE = 4
_MEANS: Mapping[int, Any] = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


class NoiseImages:
    """So many images of noise, with labels in turn; the members of ``robustcl.data.subset.Images``."""

    def __init__(self, samples: int, item: tuple[int, ...], classes: int, device: torch.device) -> None:
        self.item, self.samples, self.device = item, samples, device
        self.labels = torch.arange(samples, device=device) % classes

    def fetch(self, index: Tensor) -> Tensor:
        """Return images (B, *item) for index (B,) int64."""
        index = index.to(self.device)
        return Rng(0, "cost", "images").for_rows(index).uniform((len(index), *self.item), device=self.device)

    def batches(self, order: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through batches of indices: (index, images)."""
        for index in order:
            yield index.to(self.device), self.fetch(index)


class StandIn:
    """An encoder of one layer on means over the image, for whatever counts calls and asks nothing of inner layers."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "no source: stands for any encoder where only the number of forwards is of interest"

    def backbone(self, item: tuple[int, ...]) -> tuple[nn.Module, int]:
        """Return the network for inputs (C, ...) of any size and 16."""
        axes = len(item) - 1
        means = [_MEANS[axes](_SIDE)] if axes in _MEANS else []
        inputs = item[0] * _SIDE**axes if axes in _MEANS else torch.Size(item).numel()
        return nn.Sequential(*means, nn.Flatten(), nn.Linear(inputs, _FEATURES), nn.BatchNorm1d(_FEATURES)), _FEATURES
