"""Moving pixels: reading a batch of images at integer places of its own for every image."""

from __future__ import annotations

import torch
from torch import Tensor


def read(x: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Return images x (B, C, H, W), each pixel read ``down`` and ``right`` of its place, the border's beyond it.

    ``down`` and ``right`` are int64 and broadcast to (B, H, W).
    """
    batch, channels, height, width = x.shape
    rows = (torch.arange(height, device=x.device)[:, None] + down).clamp(0, height - 1)
    columns = (torch.arange(width, device=x.device) + right).clamp(0, width - 1)
    places = (rows * width + columns).expand(batch, height, width).reshape(batch, 1, -1)
    return x.flatten(2).gather(2, places.expand(batch, channels, -1)).reshape(x.shape)


def motion(x: Tensor, radius: int, sigma: float, angle: Tensor) -> Tensor:
    """Return images x smeared along a line that starts in each pixel, at ``angle`` (B,) in radians, clockwise.

    The line has 2 * radius + 1 places, rounded to pixels, which weigh as a Gaussian of ``sigma`` pixels from its start.
    """
    blurred = torch.zeros_like(x)
    steps = torch.arange(2 * radius + 1, dtype=torch.float64)
    weights = torch.exp(-steps.square() / (2 * sigma**2))
    weights = weights / weights.sum()
    down, right = angle.double().sin(), angle.double().cos()
    for step, weight in zip(steps.tolist(), weights.tolist(), strict=True):
        blurred += weight * read(x, _whole(step * down), _whole(step * right))
    return blurred


def _whole(shift: Tensor) -> Tensor:
    return shift.round().long()[:, None, None]
