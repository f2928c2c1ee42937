"""Models that want their images normalised: the step that belongs to their weights, put in front of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalised(nn.Module):
    """``model((x - mean) / std)`` for images (R, C, ...) in [0, 1]; mean and std have one number a channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each channel, and return what the model says."""
        shape = (-1, *[1] * (x.dim() - 2))
        out: Tensor = self.model((x - self.mean.view(shape)) / self.std.view(shape))
        return out


def find_statistics(name: str) -> tuple[list[float], list[float], int] | None:
    """Return mean, std and number of classes of a torchvision model's own weights, ``None`` where it names none."""
    from torchvision import models

    for weights in models.get_model_weights(name):
        transform = weights.transforms()
        mean, std = getattr(transform, "mean", None), getattr(transform, "std", None)
        if mean is not None and std is not None:
            return list(mean), list(std), len(weights.meta.get("categories", ()))
    return None
