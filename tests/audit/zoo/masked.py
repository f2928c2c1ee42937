"""Masked models: each wraps an honest, fragile net so that attacks fail, though the net is as fragile as before."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Wrapped(nn.Module):
    """A net of its own copy, which the wrapper may look into."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net


class Quantised(Wrapped):
    """Rounds its input to a few grey levels; the gradient of rounding is zero."""

    def __init__(self, net: nn.Module, levels: int) -> None:
        super().__init__(net)
        self.levels = levels

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x * self.levels).round() / self.levels)


class Thermometer(Wrapped):
    """Counts the thresholds that a pixel passes (Buckman et al., ICLR 2018): equal to the pixel up to a level."""

    def __init__(self, net: nn.Module, levels: int) -> None:
        super().__init__(net)
        self.register_buffer("levels", (torch.arange(levels) + 0.5) / levels)

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x[..., None] > self.levels).float().mean(-1))


class Staircase(Wrapped):
    """Steps joined by steep sigmoids: a smooth function whose gradient says nothing of where it leads."""

    def __init__(self, net: nn.Module, levels: int, steepness: float) -> None:
        super().__init__(net)
        self.levels, self.steepness = levels, steepness

    def forward(self, x: Tensor) -> Tensor:
        scaled = x * self.levels
        part = scaled - scaled.detach().floor()
        return self.net((scaled.detach().floor() + torch.sigmoid(self.steepness * (part - 0.5))) / self.levels)


class Sawtooth(Wrapped):
    """Adds a ripple of tiny height and large slope: true gradients, of the ripple and not of the net."""

    def __init__(self, net: nn.Module, height: float, frequency: float) -> None:
        super().__init__(net)
        self.height, self.frequency = height, frequency

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x + self.height * torch.sin(self.frequency * x))


class NoisyInput(Wrapped):
    """Adds fresh noise to its input."""

    def __init__(self, net: nn.Module, deviation: float) -> None:
        super().__init__(net)
        self.deviation = deviation

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x + self.deviation * torch.randn_like(x))


class RandomShift(Wrapped):
    """Moves the image by a random pixel (Xie et al., ICLR 2018)."""

    def forward(self, x: Tensor) -> Tensor:
        across, down = (int(torch.randint(-1, 2, ())) for _ in range(2))
        return self.net(x.roll((across, down), (-1, -2)))


class AlwaysDropout(Wrapped):
    """Drops pixels at evaluation too."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(F.dropout(x, 0.1, training=True))


class HashedNoise(Wrapped):
    """Noise seeded by the input itself: the same image gives the same answer, its neighbour another one."""

    def __init__(self, net: nn.Module, deviation: float) -> None:
        super().__init__(net)
        self.deviation = deviation

    def forward(self, x: Tensor) -> Tensor:
        mixed = torch.sin(x.detach().flatten(1) * 1e5 + torch.arange(x[0].numel()))
        noise = torch.frac(mixed.cumsum(1) * 43758.5453).view_as(x)
        return self.net(x + self.deviation * noise)


class Scaled(Wrapped):
    """Multiplies its logits: in float32 the softmax is 1, the cross-entropy 0 and its gradient too."""

    def __init__(self, net: nn.Module, times: float) -> None:
        super().__init__(net)
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) * self.times


class Squashed(Wrapped):
    """Squashes its logits, so that the cross-entropy hardly sees the strongest of the wrong classes."""

    def forward(self, x: Tensor) -> Tensor:
        return 10.0 * torch.tanh(3.0 * self.net(x))


class Votes(Wrapped):
    """Adds a hard vote to logits that are too small to count."""

    def forward(self, x: Tensor) -> Tensor:
        logits = self.net(x)
        moved = self.net(x.roll(1, -1) * 0.2 + x * 0.8)
        hard = F.one_hot(logits.argmax(1), logits.shape[1]) + F.one_hot(moved.argmax(1), logits.shape[1])
        return hard + 1e-3 * logits


class Clipped(Wrapped):
    """Cuts its logits at a bound that all of them pass: constant, with ties broken by what is left."""

    def forward(self, x: Tensor) -> Tensor:
        logits = self.net(x)
        return F.one_hot(logits.argmax(1), logits.shape[1]) * 10.0 + 0.0 * logits


class WinnersTakeAll(nn.Module):
    """Keeps the k largest activations (Xiao, Zhong and Zheng, ICLR 2020): a function full of jumps."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, h: Tensor) -> Tensor:
        return h * (h >= h.topk(self.k, 1).values[:, -1:])


class Detached(Wrapped):
    """Cuts the graph at its input."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.detach())


class NoGrad(Wrapped):
    """Runs its net without a graph."""

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class HardVote(Wrapped):
    """Returns which class won, and no more."""

    def forward(self, x: Tensor) -> Tensor:
        logits = self.net(x)
        return F.one_hot(logits.argmax(1), logits.shape[1]).float()


class _Lying(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kind: str) -> Tensor:
        ctx.kind = kind
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        if ctx.kind == "negated":
            return -gradient, None
        if ctx.kind == "shuffled":
            return gradient.flip(-1).flip(-2), None
        return torch.ones_like(gradient) * gradient.abs().mean(), None


class Lying(Wrapped):
    """Passes its input on and lies about the gradient."""

    def __init__(self, net: nn.Module, kind: str) -> None:
        super().__init__(net)
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        return self.net(_Lying.apply(x, self.kind))


class BatchStatistics(Wrapped):
    """Normalises by the batch it sees, whatever mode it is in."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(F.batch_norm(x, None, None, training=True) * 0.37 + 0.3)


class Stubborn(nn.BatchNorm2d):
    """Stays in train mode: eval() is ignored, and every forward pass moves its statistics."""

    def forward(self, x: Tensor) -> Tensor:
        self.training = True
        return super().forward(x)


class TrainMode(Wrapped):
    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.norm = Stubborn(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.norm(x) * 0.37 + 0.3)


class Softmax(Wrapped):
    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).softmax(1)


class SometimesNaN(Wrapped):
    """Divides zero by zero where an image is bright."""

    def forward(self, x: Tensor) -> Tensor:
        logits = self.net(x)
        return torch.where(x.flatten(1).mean(1, keepdim=True) > 0.33, logits * torch.nan, logits)


class NaNGradient(Wrapped):
    """Finite everywhere, but the root's slope at 0 is infinite and is multiplied by 0: NaN."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) + 0.0 * (x - x.detach()).flatten(1).square().sum(1, keepdim=True).sqrt()


class Normalising(Wrapped):
    """Expects normalised values, as they are handed to the attack: a quarter of a pixel's eps is left."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x * 0.25 + 0.5)


class Flattened(Wrapped):
    """Saturates each pixel: hard black or white, with a slope that float32 cannot hold."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(torch.sigmoid(1e3 * (x - 0.5)))


def winners(net: nn.Sequential, k: int) -> nn.Module:
    """Return an MLP with its ReLU exchanged."""
    return nn.Sequential(*(WinnersTakeAll(k) if isinstance(layer, nn.ReLU) else layer for layer in net))
