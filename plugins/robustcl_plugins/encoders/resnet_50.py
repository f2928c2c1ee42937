"""ResNet-50 with the stems and paddings that the published methods use."""

from __future__ import annotations

from typing import Annotated, ClassVar

from annotated_types import Ge
from torch import nn
from torchvision.models import resnet50

from robustcl.protocols import Need
from robustcl_plugins.encoders.blocks import image
from robustcl_plugins.encoders.stems import Stem, with_stem


class ResNet50:
    """torchvision's ResNet-50 up to its global average pool, F = 2048; bottlenecks have their stride in the 3x3.

    stem: "cifar" is 3x3 of stride 1 without max-pooling, "imagenet" 7x7 of stride 2 with it.
    stem_padding: by default 1 for "cifar" and 3 for "imagenet".
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = (
        "He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016, table 1 (50 layers); "
        "CIFAR stem: Chen, Kornblith, Norouzi, Hinton: SimCLR, ICML 2020, appendix B.9"
    )

    def __init__(self, *, stem: Stem = "cifar", stem_padding: Annotated[int, Ge(0)] | None = None) -> None:
        self.stem = stem
        self.stem_padding = stem_padding

    def backbone(self, item: tuple[int, ...]) -> tuple[nn.Module, int]:
        """Return the network for images (C, H, W) and 2048."""
        channels, _, _ = image(item, "resnet-50")
        return with_stem(resnet50(weights=None), channels, self.stem, self.stem_padding), 2048
