"""The "standard CNN" of the adversarial literature: four convolutions and three fully connected layers."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from annotated_types import Ge
from torch import nn

from robustcl.errors import UsageError
from robustcl.protocols import Need
from robustcl_plugins.encoders.blocks import image


class CNN4:
    """Two convolutions of w channels, max-pool, two of 2w, max-pool, two fully connected layers, with ReLUs.

    The third fully connected layer is the encoder's classifier, so h is the input of the last layer, as ASCL
    takes it. No batch norm: all routes are one. The dropout that some copies have at the end is left out.

    width: w, 64 for CIFAR and 32 for MNIST.
    hidden: F, 256 for CIFAR and 200 for MNIST.
    padding: of the 3x3 convolutions, 0 as published; 1 admits images below 16 pixels.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = (
        "Carlini, Wagner: Towards Evaluating the Robustness of Neural Networks, IEEE S&P 2017, table I; "
        "as the encoder of Bui et al.: Understanding and Achieving Efficient Robustness with Adversarial "
        "Supervised Contrastive Learning, 2021"
    )

    def __init__(
        self,
        *,
        width: Annotated[int, Ge(1)] = 64,
        hidden: Annotated[int, Ge(1)] = 256,
        padding: Literal[0, 1] = 0,
    ) -> None:
        self.width = width
        self.hidden = hidden
        self.padding = padding

    def backbone(self, item: tuple[int, ...]) -> tuple[nn.Module, int]:
        """Return the network for images (C, H, W) and F; raises UsageError for too small images."""
        channels, *sides = image(item, "cnn-4")
        lost = 4 * (1 - self.padding)
        height, width = (((side - lost) // 2 - lost) // 2 for side in sides)
        if min(height, width) < 1:
            raise UsageError(f"cnn-4 leaves nothing of images {tuple(sides)}: set its padding to 1")
        layers: list[nn.Module] = []
        for inputs, outputs in ((channels, self.width), (self.width, 2 * self.width)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=self.padding), nn.ReLU()]
            layers += [nn.Conv2d(outputs, outputs, 3, padding=self.padding), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Flatten(), nn.Linear(2 * self.width * height * width, self.hidden), nn.ReLU()]
        layers += [nn.Linear(self.hidden, self.hidden), nn.ReLU()]
        return nn.Sequential(*layers), self.hidden
