"""The CIFAR ResNet with 20 layers."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import nn

from robustcl.protocols import Need
from robustcl_plugins.encoders.blocks import SmallResNet, image


class ResNet20:
    """Three stages of three basic blocks with 16, 32 and 64 channels, global average pool, F = 64.

    shortcut: where the shape changes, "pad" (option A of the paper: subsampling and zero channels, without
        parameters, as the paper's CIFAR networks) or "projection" (option B: 1x1 convolution and batch norm).
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = (
        "He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016, section 4.2 (n = 3)"
    )

    def __init__(self, *, shortcut: Literal["pad", "projection"] = "pad") -> None:
        self.shortcut = shortcut

    def backbone(self, item: tuple[int, ...]) -> tuple[nn.Module, int]:
        """Return the network for images (C, H, W) and 64."""
        channels, _, _ = image(item, "resnet-20")
        return SmallResNet(channels, (16, 32, 64), 3, (1, 1, 2, 2), self.shortcut), 64
