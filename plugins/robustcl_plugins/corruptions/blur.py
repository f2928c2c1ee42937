"""Blur: Gaussian, defocus, glass, motion and zoom."""

from __future__ import annotations

import math

import torch
from kornia.filters import filter2d, gaussian_blur2d
from torch import Tensor
from torch.nn import functional

from robustcl.rng import Rng
from robustcl_plugins.corruptions.pixels import motion, read

_DISK = 5
"""Side of the defocus kernels: a disk of radius 1.5 and the neighbours that its edge is smoothed into."""


def gaussian_blur(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Return x convolved with a Gaussian of 0.4 to 1 pixels."""
    return smoothed(x, (0.4, 0.6, 0.7, 0.8, 1.0)[severity - 1])


def defocus_blur(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Return x convolved with a disk of radius 0.3 to 1.5, whose edge a Gaussian over 3 x 3 pixels has smoothed."""
    radius, smoothing = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))[severity - 1]
    side = torch.arange(_DISK, device=x.device) - _DISK // 2
    disk = (side[:, None].square() + side.square() <= radius**2).to(x.dtype)
    disk = gaussian_blur2d(disk[None, None] / disk.sum(), (3, 3), (smoothing, smoothing), border_type="constant")
    blurred: Tensor = filter2d(x, disk[0], border_type="reflect")
    return blurred


def glass_blur(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Return x blurred, each pixel replaced by itself or a neighbour above or left of it, and blurred again.

    Repeated once or twice. The published code means to exchange pixels with neighbours; it copies them, and never from
    below or right. The first two rows and columns keep their pixels.
    """
    sigma, rounds = ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))[severity - 1]
    moved = smoothed(x, sigma)
    batch, _, height, width = x.shape
    inner = torch.zeros((height, width), dtype=torch.int64, device=x.device)
    inner[2:, 2:] = 1
    for _ in range(rounds):
        shift = -rng.integers(2, (batch, 2, height, width), device=x.device) * inner
        moved = read(moved, shift[:, 0], shift[:, 1])
    return smoothed(moved, sigma)


def motion_blur(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Return x smeared along a line of 13 to 19 pixels, Gaussian weights of 1 to 2.5, within 45 degrees of level."""
    radius, sigma = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))[severity - 1]
    angle = rng.uniform((len(x), 1), -math.pi / 4, math.pi / 4, device=x.device)[:, 0]
    return motion(x, radius, sigma, angle)


def zoom_blur(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Return the mean of x and of x enlarged by 1.00, 1.01, ... up to 1.06, 1.11, 1.15, 1.20 and 1.25.

    The published ranges are meant to end before 1.06 and 1.11 as well; the rounding of their steps lets them in.
    """
    last = (6, 11, 15, 20, 25)[severity - 1]
    total = x.clone()
    for percent in range(last + 1):
        total += zoomed(x, 1 + percent / 100)
    return total / (last + 2)


def zoomed(x: Tensor, factor: float) -> Tensor:
    """Return x enlarged about its centre and cut to its size, bilinear with aligned corners.

    What is enlarged is a whole number of pixels, rounded up, and what is too much afterwards is cut off, as published.
    """
    height, width = x.shape[2:]
    inner = _middle(x, math.ceil(height / factor), math.ceil(width / factor))
    size = [math.floor(side * factor + 0.5) for side in inner.shape[2:]]
    return _middle(functional.interpolate(inner, size=size, mode="bilinear", align_corners=True), height, width)


def _middle(x: Tensor, height: int, width: int) -> Tensor:
    top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
    return x[:, :, top : top + height, left : left + width]


def smoothed(x: Tensor, sigma: float) -> Tensor:
    """Return x convolved with a Gaussian of ``sigma`` pixels, whose border is that of the image repeated."""
    side = 2 * int(4 * sigma + 0.5) + 1
    blurred: Tensor = gaussian_blur2d(x, (side, side), (sigma, sigma), border_type="replicate")
    return blurred
