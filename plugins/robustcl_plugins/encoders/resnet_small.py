"""A ResNet for small images that trains on a CPU."""

from __future__ import annotations

from typing import Annotated, ClassVar

from annotated_types import Ge
from torch import nn

from robustcl.protocols import Need
from robustcl_plugins.encoders.blocks import SmallResNet, image


class ResNetSmall:
    """Three stages of basic blocks with w, 2w and 4w channels, global average pool, F = 4w.

    The strides follow the image: the stem brings it down to 32 pixels, the second and third stage halve maps
    larger than 2 pixels. 8x8 digits end at 2x2, CIFAR at 8x8.

    width: w.
    blocks: basic blocks in each stage.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = (
        "He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016, section 4.2, "
        "with projection shortcuts (option B) and fewer blocks"
    )

    def __init__(self, *, width: Annotated[int, Ge(1)] = 16, blocks: Annotated[int, Ge(1)] = 1) -> None:
        self.width = width
        self.blocks = blocks

    def backbone(self, item: tuple[int, ...]) -> tuple[nn.Module, int]:
        """Return the network for images (C, H, W) and 4w."""
        channels, height, width = image(item, "resnet-small")
        widths = (self.width, 2 * self.width, 4 * self.width)
        strides = _strides(min(height, width))
        return SmallResNet(channels, widths, self.blocks, strides, "projection"), widths[-1]


def _strides(side: int) -> tuple[int, int, int, int]:
    """Return the strides of the stem and the three stages for a shorter side of ``side`` pixels."""
    stem = 1
    while side > 32 * stem:
        stem *= 2
    side = -(-side // stem)
    second = 2 if side > 2 else 1
    third = 2 if -(-side // second) > 2 else 1
    return stem, 1, second, third
