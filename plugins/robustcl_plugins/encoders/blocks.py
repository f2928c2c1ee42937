"""The residual block that the small ResNets share."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import pad

from robustcl.errors import UsageError


class BasicBlock(nn.Module):
    """relu(x' + bn(conv(relu(bn(conv(x)))))), 3x3 convolutions, the stride in the first; x' the shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: nn.Module) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        added: Tensor = self.relu(y + self.shortcut(x))
        return added


class PadShortcut(nn.Module):
    """Option A of He et al.: every stride-th pixel, and zeros for the channels that the input lacks."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.missing = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        before = self.missing // 2
        return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.missing - before))


def projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Return option B of He et al.: a 1x1 convolution with a batch norm."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


def identity_or(kind: str, inputs: int, outputs: int, stride: int) -> nn.Module:
    """Return the identity where the shape stays, else the shortcut of a kind: "pad" or "projection"."""
    if inputs == outputs and stride == 1:
        return nn.Identity()
    return {"pad": PadShortcut, "projection": projection}[kind](inputs, outputs, stride)


class SmallResNet(nn.Module):
    """A 3x3 stem, stages of basic blocks, global average pool: (R, C, H, W) -> (R, widths[-1])."""

    def __init__(
        self, channels: int, widths: Sequence[int], blocks: int, strides: Sequence[int], shortcut: str
    ) -> None:
        """``strides``: the stem's, then each stage's."""
        super().__init__()
        self.geometry = {"stem_kernel": 3, "stem_padding": 1, "strides": list(strides)}
        self.conv1 = nn.Conv2d(channels, widths[0], 3, strides[0], 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU()
        inputs = widths[0]
        for number, (width, first) in enumerate(zip(widths, strides[1:], strict=True), start=1):
            stage = nn.Sequential()
            for stride in (first, *[1] * (blocks - 1)):
                stage.append(BasicBlock(inputs, width, stride, identity_or(shortcut, inputs, width, stride)))
                inputs = width
            self.add_module(f"layer{number}", stage)
        self.stages = len(widths)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        for number in range(1, self.stages + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return x.mean((2, 3))


def initialise(network: nn.Module) -> None:
    """Draw every convolution as He et al. (ICCV 2015, eq. 14): normal, variance 2 / fan-out."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def image(item: tuple[int, ...], name: str) -> tuple[int, int, int]:
    """Return (C, H, W); raises UsageError for inputs that are not images."""
    if len(item) != 3:
        raise UsageError(f"{name} takes images (C, H, W), not inputs of shape {item}; choose another encoder")
    return item[0], item[1], item[2]
