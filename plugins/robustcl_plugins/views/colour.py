"""Colour operations on a batch with a parameter of its own for every image.

Brightness, contrast and saturation blend the image with black, its mean grey or its grey version; hue turns in HSV.
They are torchvision's formulas, results clamped to [0, 1]. Images with other than three channels have neither hue nor
saturation: those operations, and ``greyed``, leave them as they are, and the mean of their channels is their grey.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from kornia.color import hsv_to_rgb, rgb_to_hsv
from torch import Tensor

_LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601


def brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Blend images (B, C, H, W) with black: factor (B,), 1 leaves them, 0 is black."""
    return (x * _each(factor, x)).clamp(0, 1)


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Blend images with the mean of their grey version: factor (B,), 1 leaves them."""
    return _blend(x, grey(x).mean((1, 2, 3), keepdim=True), factor)


def saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Blend images with their grey version: factor (B,), 1 leaves them, 0 is grey."""
    return _blend(x, grey(x), factor) if x.shape[1] == 3 else x


def hue(x: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue by ``turn`` (B,), in whole turns: -0.5 .. 0.5."""
    if x.shape[1] != 3:
        return x
    h, s, v = rgb_to_hsv(x.clamp(0, 1)).unbind(1)
    turned: Tensor = hsv_to_rgb(torch.stack(((h + 2 * math.pi * turn[:, None, None]) % (2 * math.pi), s, v), 1))
    return turned


def greyed(x: Tensor, chosen: Tensor) -> Tensor:
    """Replace the channels of the chosen (B,) images by their grey."""
    return torch.where(chosen[:, None, None, None], grey(x), x) if x.shape[1] == 3 else x


def grey(x: Tensor) -> Tensor:
    """Return the luma (B, 1, H, W) of RGB images, the mean channel of any others."""
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True)
    red, green, blue = x.unbind(1)
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue).unsqueeze(1)


JITTER: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (brightness, contrast, saturation, hue)


def jitter(x: Tensor, amount: Tensor, order: Tensor, chosen: Tensor) -> Tensor:
    """Apply the four operations to the chosen (B,) images, each image in its own order.

    amount: (B, 4), the factors of brightness, contrast and saturation, and the turn of hue; order: (B, 4), the number
    of the operation that comes first, second, and so on.
    """
    out = x.clone()
    for place in range(len(JITTER)):
        for number, operation in enumerate(JITTER):
            rows = (chosen & (order[:, place] == number)).nonzero().flatten()
            out[rows] = operation(out[rows], amount[rows, number])
    return out


def _blend(x: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(other.expand_as(x), x, _each(factor, x)).clamp(0, 1)


def _each(values: Tensor, x: Tensor) -> Tensor:
    return values.to(x.dtype)[:, None, None, None]
