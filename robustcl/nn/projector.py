"""The projection head: a multi-layer perceptron between the features and the contrastive loss."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from annotated_types import Ge
from torch import nn


class Projector:
    """A head of fully connected layers with ReLU between them.

    widths: the layers' outputs; () for none, so that z is h.
    norm: a batch norm after every layer but the last; last_norm: one after the last.
    A layer has a bias unless a norm follows it, which would take it away again.

    SimCLR on CIFAR (solo-learn): widths (2048, 256), no norm. ACL: (512, 512, 512), norm, last_norm.
    RoCL: (2048, 128), no norm. AdvCL: (512, 128), norm. DeACL: ().
    """

    def __init__(
        self,
        *,
        widths: tuple[Annotated[int, Ge(1)], ...] = (512, 128),
        norm: bool = True,
        last_norm: bool = False,
    ) -> None:
        self.widths = widths
        self.norm = norm
        self.last_norm = last_norm

    def make(self, features: int) -> tuple[nn.Module, int]:
        """Return the head for features (R, F) and its output width; drawn from torch's global generator."""
        sizes = [features, *self.widths]
        layers: list[nn.Module] = []
        for number, (inputs, outputs) in enumerate(pairwise(sizes), start=1):
            last = number == len(self.widths)
            norm = self.last_norm if last else self.norm
            layers.append(nn.Linear(inputs, outputs, bias=not norm))
            if norm:
                layers.append(nn.BatchNorm1d(outputs))
            if not last:
                layers.append(nn.ReLU())
        return nn.Sequential(*layers), sizes[-1]
