"""ResNet-18 with the stems and paddings that the published methods use."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge
from torch import nn
from torchvision.models import resnet18

from robustcl.protocols import Need
from robustcl_plugins.encoders.blocks import image


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

    def __init__(
        self,
        *,
        stem: Literal["cifar", "imagenet"] = "cifar",
        stem_padding: Annotated[int, Ge(0)] | None = None,
    ) -> None:
        self.stem = stem
        self.stem_padding = stem_padding

    def backbone(self, item: tuple[int, ...]) -> tuple[nn.Module, int]:
        """Return the network for images (C, H, W) and 512."""
        channels, _, _ = image(item, "resnet-18")
        kernel, stride, padding, pooled = _STEMS[self.stem]
        if self.stem_padding is not None:
            padding = self.stem_padding
        network: Any = resnet18(weights=None)
        network.conv1 = nn.Conv2d(channels, 64, kernel, stride, padding, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        if not pooled:
            network.maxpool = nn.Identity()
        network.fc = nn.Identity()
        geometry = {
            "stem_kernel": kernel,
            "stem_stride": stride,
            "stem_padding": padding,
            "stem_pool": pooled,
        }
        network.geometry = geometry
        return network, 512


_STEMS = {"cifar": (3, 1, 1, False), "imagenet": (7, 2, 3, True)}
"""Kernel, stride, padding and max-pooling of each stem."""
