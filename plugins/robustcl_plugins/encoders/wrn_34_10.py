"""The wide ResNet of the adversarial literature: 34 layers, ten times as wide."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from annotated_types import Ge
from torch import Tensor, nn

from robustcl.protocols import Need
from robustcl_plugins.encoders.blocks import image, initialise


class WideResNet:
    """A WRN-d-k: a 3x3 stem, three stages of (d - 4) / 6 pre-activated blocks, average pool, F = 64k.

    The stages have 16k, 32k and 64k channels and halve the maps from the second on. A block is
    conv(relu(bn(conv(relu(bn(x)))))) + x; where the shape changes, a 1x1 convolution of relu(bn(x)) takes the place
    of x. The paper's dropout between the convolutions is left out, as adversarial training leaves it at 0.

    depth: d, 6n + 4.
    width: k.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = (
        "Zagoruyko, Komodakis: Wide Residual Networks, BMVC 2016, table 1; WRN-34-10 as in Madry et al., ICLR 2018, "
        "and Zhang et al.: TRADES, ICML 2019"
    )

    def __init__(self, *, depth: Literal[10, 16, 22, 28, 34, 40, 70] = 34, width: Annotated[int, Ge(1)] = 10) -> None:
        self.depth = depth
        self.width = width

    def backbone(self, item: tuple[int, ...]) -> tuple[nn.Module, int]:
        """Return the network for images (C, H, W) and 64k."""
        channels, _, _ = image(item, "wrn-34-10")
        return _Network(channels, (self.depth - 4) // 6, self.width), 64 * self.width


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.relu = nn.ReLU()
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs or stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        active = self.relu(self.bn1(x))
        y: Tensor = self.conv2(self.relu(self.bn2(self.conv1(active))))
        short: Tensor = x if self.shortcut is None else self.shortcut(active)
        return y + short


class _Network(nn.Module):
    def __init__(self, channels: int, blocks: int, width: int) -> None:
        super().__init__()
        self.geometry = {"stem_kernel": 3, "stem_padding": 1, "strides": [1, 1, 2, 2]}
        self.conv1 = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        self.layer1 = _stage(16, 16 * width, 1, blocks)
        self.layer2 = _stage(16 * width, 32 * width, 2, blocks)
        self.layer3 = _stage(32 * width, 64 * width, 2, blocks)
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.relu = nn.ReLU()
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        y: Tensor = self.relu(self.bn1(x))
        return y.mean((2, 3))


def _stage(inputs: int, outputs: int, stride: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(_Block(inputs, outputs, stride), *(_Block(outputs, outputs, 1) for _ in range(blocks - 1)))
