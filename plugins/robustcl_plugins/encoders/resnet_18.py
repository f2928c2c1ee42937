"""ResNet-18 with the stems and paddings that the published methods use."""

from __future__ import annotations

from typing import Annotated, ClassVar

from annotated_types import Ge
from torch import nn
from torchvision.models import resnet18

from robustcl.protocols import Need
from robustcl_plugins.encoders.blocks import image
from robustcl_plugins.encoders.stems import Stem, with_stem


class ResNet18:
    """torchvision's ResNet-18 up to its global average pool, F = 512.

    stem: "cifar" is 3x3 of stride 1 without max-pooling, "imagenet" 7x7 of stride 2 with it.
    stem_padding: by default 1 for "cifar" and 3 for "imagenet"; solo-learn and DeACL use 2 on CIFAR, which
        the weights alone do not tell.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = (
        "He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016, table 1 (18 layers); "
        "CIFAR stem: Chen, Kornblith, Norouzi, Hinton: SimCLR, ICML 2020, appendix B.9"
    )

    def __init__(self, *, stem: Stem = "cifar", stem_padding: Annotated[int, Ge(0)] | None = None) -> None:
        self.stem = stem
        self.stem_padding = stem_padding

    def backbone(self, item: tuple[int, ...]) -> tuple[nn.Module, int]:
        """Return the network for images (C, H, W) and 512."""
        channels, _, _ = image(item, "resnet-18")
        return with_stem(resnet18(weights=None), channels, self.stem, self.stem_padding), 512
