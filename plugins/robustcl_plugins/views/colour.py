"""Colour operations on a batch with a parameter of its own for every image.

Brightness, contrast and saturation blend an image with black, its mean grey, or its grey version; hue turns
the colour circle. The results equal torchvision's and are clamped to [0, 1]. Images with other than three
channels have neither hue nor saturation: those operations, and ``greyed``, leave them as they are, and the
mean of their channels is their grey.
"""

from __future__ import annotations

import torch
from torch import Tensor

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)

_LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601


def jitter(x: Tensor, amount: Tensor, order: Tensor, chosen: Tensor) -> Tensor:
    """Apply the four operations to the chosen (B,) of the images (B, C, H, W), each in its own order.

    x is in [0, 1]. amount: (B, 4), the factors of brightness, contrast and saturation, of which 1 changes
    nothing, and the turn of hue, in whole turns. order: (B, 4), the number of the operation that comes
    first, second, and so on.
    """
    rows = chosen.nonzero().flatten()
    out, amount, order = x[rows], amount[rows].to(x.dtype), order[rows]
    for now in order.unbind(1):
        factor = amount.gather(1, now[:, None])[:, 0]
        out = _blend(out, now, factor)
        turned = (now == HUE).nonzero().flatten()
        out = out.index_copy(0, turned, hue(out[turned], factor[turned]))
    return x.index_copy(0, rows, out)


def hue(x: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue of images in [0, 1] by ``turn`` (B,), in whole turns: -0.5 .. 0.5.

    Hexcone model (A. R. Smith, Color Gamut Transform Pairs, SIGGRAPH 1978): with the hue h in [0, 6), a
    channel is max - (max - min) * clamp(min(k, 4 - k), 0, 1), where k = (n + h) mod 6, n = 5, 3, 1 for red,
    green, blue.
    """
    if x.shape[1] != 3:
        return x
    red, green, blue = x.unbind(1)
    high = x.amax(1)
    spread = high - x.amin(1)
    width = torch.where(spread > 0, spread, 1)
    h = torch.where(
        high == red,
        (green - blue) / width,
        torch.where(high == green, (blue - red) / width + 2, (red - green) / width + 4),
    )
    h = h + 6 * turn[:, None, None]
    phase = torch.tensor((5.0, 3.0, 1.0), dtype=x.dtype, device=x.device)[:, None, None]
    k = (h.unsqueeze(1) + phase) % 6
    return high.unsqueeze(1) - spread.unsqueeze(1) * torch.minimum(k, 4 - k).clamp(0, 1)


def greyed(x: Tensor, chosen: Tensor) -> Tensor:
    """Replace the channels of the chosen (B,) images by their grey."""
    if x.shape[1] != 3:
        return x
    rows = chosen.nonzero().flatten()
    return x.index_copy(0, rows, grey(x[rows]).expand(-1, 3, -1, -1))


def grey(x: Tensor) -> Tensor:
    """Return the luma (B, 1, H, W) of RGB images, the mean channel of any others."""
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True)
    red, green, blue = x.unbind(1)
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue).unsqueeze(1)


def _blend(x: Tensor, now: Tensor, factor: Tensor) -> Tensor:
    """Apply brightness, contrast or saturation, as ``now`` (B,) says; leave the images where hue is due."""
    luma = grey(x)
    mean = luma.mean((2, 3), keepdim=True)
    other = luma * _each(now == SATURATION, x) + mean * _each(now == CONTRAST, x)
    untouched = (now == HUE) if x.shape[1] == 3 else (now >= SATURATION)
    return torch.lerp(other.expand_as(x), x, _each(torch.where(untouched, 1, factor), x)).clamp(0, 1)


def _each(values: Tensor, x: Tensor) -> Tensor:
    return values.to(x.dtype)[:, None, None, None]
