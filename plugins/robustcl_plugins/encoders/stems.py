"""What torchvision's ResNets begin with: the stems and paddings that the published methods use."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from torch import nn

Stem: TypeAlias = Literal["cifar", "imagenet"]

_STEMS = {"cifar": (3, 1, 1, False), "imagenet": (7, 2, 3, True)}
"""Kernel, stride, padding and max-pooling of each stem."""


def with_stem(network: Any, channels: int, stem: Stem, padding: int | None) -> nn.Module:
    """Return one of torchvision's ResNets with a fresh stem for so many channels, and without its classifier.

    padding: of the stem's convolution; None for the stem's own.
    """
    kernel, stride, usual, pooled = _STEMS[stem]
    padding = usual if padding is None else padding
    network.conv1 = nn.Conv2d(channels, 64, kernel, stride, padding, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    if not pooled:
        network.maxpool = nn.Identity()
    network.fc = nn.Identity()
    network.geometry = {
        "stem_kernel": kernel,
        "stem_stride": stride,
        "stem_padding": padding,
        "stem_pool": pooled,
    }
    made: nn.Module = network
    return made
