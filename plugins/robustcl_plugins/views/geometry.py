"""Crops of a batch with a box of its own for every image, resized by two matrix products.

A resize is linear and separable: ``rows @ image @ columns.T`` with one weight matrix per axis and image.
That is exact, batched, differentiable, and the same on every device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from robustcl.errors import UsageError
from robustcl.rng import Rng

Interpolation = Literal["bicubic", "bilinear"]

_ATTEMPTS = 10


def check_images(view: str, x: Tensor) -> None:
    """Raise UsageError unless x is (B, C, H, W)."""
    if x.dim() != 4:
        raise UsageError(f"the view {view!r} takes images (C, H, W), not {tuple(x.shape[1:])}: choose another view")


def crop_boxes(x: Tensor, scale: float, ratio: float, rng: Rng) -> Tensor:
    """Draw a crop for each image of x (B, C, H, W): (B, 4) int64 as top, left, height, width, on x's device.

    The area is uniform in [scale, 1] of the image's and width / height log-uniform in [1 / ratio, ratio],
    rounded to pixels; the first of ten draws that fits in the image is taken, and otherwise the largest
    centred crop within the ratios. The place is uniform. Source: C. Szegedy et al., Going Deeper with
    Convolutions, CVPR 2015, section 6, in torchvision's ``RandomResizedCrop`` form.
    """
    batch, (height, width) = len(x), x.shape[-2:]
    draws = (batch, _ATTEMPTS)
    area = rng.uniform(draws, scale, 1.0, device=x.device) * (height * width)
    aspect = torch.exp(rng.uniform(draws, -math.log(ratio), math.log(ratio), device=x.device))
    wide, high = torch.sqrt(area * aspect).round(), torch.sqrt(area / aspect).round()
    fits = (wide >= 1) & (wide <= width) & (high >= 1) & (high <= height)
    first = fits.int().argmax(1, keepdim=True)
    some = fits.any(1)
    whole_high, whole_wide = _largest(height, width, ratio)
    high = torch.where(some, high.gather(1, first)[:, 0], whole_high).long()
    wide = torch.where(some, wide.gather(1, first)[:, 0], whole_wide).long()
    place = rng.uniform((batch, 2), device=x.device, dtype=torch.float64)
    top = torch.where(some, (place[:, 0] * (height - high + 1)).long(), (height - whole_high) // 2)
    left = torch.where(some, (place[:, 1] * (width - wide + 1)).long(), (width - whole_wide) // 2)
    return torch.stack((top, left, high, wide), 1)


def resized_crop(x: Tensor, boxes: Tensor, mirrored: Tensor, interpolation: Interpolation) -> Tensor:
    """Cut boxes (B, 4) out of images (B, C, H, W), resize them to (H, W), mirror where ``mirrored`` (B,).

    The kernels are those of Pillow: pixel centres at half-integers, taps outside the crop dropped and the
    rest renormalised, bicubic with a = -0.5, which leaves [0, 1] slightly.
    """
    height, width = x.shape[-2:]
    rows = _weights(boxes[:, 0], boxes[:, 2], height, interpolation, x.dtype)
    columns = _weights(boxes[:, 1], boxes[:, 3], width, interpolation, x.dtype)
    columns = torch.where(mirrored[:, None, None], columns.flip(1), columns)
    # Half precision would move pixels by more than a grey level.
    with torch.autocast(x.device.type, enabled=False):
        narrowed = torch.bmm(x.flatten(1, 2), columns.transpose(1, 2)).view_as(x)
        return torch.matmul(rows[:, None], narrowed)


def _largest(height: int, width: int, ratio: float) -> tuple[int, int]:
    """Return height and width of the largest crop whose width / height lies in [1 / ratio, ratio]."""
    if width < height / ratio:
        return round(width * ratio), width
    if width > height * ratio:
        return height, round(height * ratio)
    return height, width


def _weights(start: Tensor, length: Tensor, size: int, interpolation: Interpolation, dtype: torch.dtype) -> Tensor:
    """Return (B, size, size): what each source pixel gives to each target pixel."""
    pixel = torch.arange(size, device=start.device, dtype=dtype)
    step = length.to(dtype) / size
    centre = start[:, None] + (pixel + 0.5) * step[:, None]
    distance = (pixel + 0.5) - centre[:, :, None]
    inside = (pixel >= start[:, None]) & (pixel < (start + length)[:, None])
    weight = _KERNELS[interpolation](distance.abs()) * inside[:, None, :]
    return weight / weight.sum(2, keepdim=True)


def _triangle(d: Tensor) -> Tensor:
    return (1 - d).clamp(min=0)


def _cubic(d: Tensor) -> Tensor:
    """Keys, Cubic Convolution Interpolation for Digital Image Processing, 1981, with a = -0.5."""
    near = (1.5 * d - 2.5) * d * d + 1
    far = ((-0.5 * d + 2.5) * d - 4) * d + 2
    return torch.where(d <= 1, near, torch.where(d < 2, far, 0.0))


_KERNELS: Mapping[Interpolation, Callable[[Tensor], Tensor]] = {"bilinear": _triangle, "bicubic": _cubic}
