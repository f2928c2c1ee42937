"""Spatter: drops of water or of mud on the lens."""

from __future__ import annotations

import torch
from kornia.color import rgb_to_grayscale
from torch import Tensor

from robustcl.rng import Rng
from robustcl_plugins.corruptions.blur import smoothed
from robustcl_plugins.corruptions.edges import UNIT, even_out, find_edges, measure_distance, neighbourhood

_WATER, _MUD = (175, 238, 238), (63, 42, 20)
"""Pale turquoise and brown, of 255."""
_FARTHEST = 20
_SHARPEN = ((-2.0, -1.0, 0.0), (-1.0, 1.0, 1.0), (0.0, 1.0, 2.0))
_MEAN = ((1.0, 1.0, 1.0),) * 3


def spatter(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Return x under drops: smoothed normal noise above a threshold, clear water up to severity 3, then mud.

    Water is the brighter the farther it lies from the edges of its drops; mud covers. On images without colour both
    have their grey. Water lies on nothing where no noise is above the threshold.
    """
    mean, deviation, smoothing, threshold, amount = (
        (0.62, 0.1, 0.7, 0.7, 0.5),
        (0.65, 0.1, 0.8, 0.7, 0.5),
        (0.65, 0.3, 1.0, 0.69, 0.5),
        (0.65, 0.1, 0.7, 0.69, 0.6),
        (0.65, 0.1, 0.5, 0.68, 0.6),
    )[severity - 1]
    noise = mean + deviation * rng.normal((len(x), 1, *x.shape[2:]), device=x.device)
    liquid = smoothed(noise, smoothing)
    liquid = torch.where(liquid < threshold, 0.0, liquid)
    if severity <= 3:
        return x + amount * water_of(liquid) * _tint(_WATER, x)
    mud = smoothed((liquid > threshold).to(x.dtype), amount)
    mud = torch.where(mud < 0.8, 0.0, mud)
    return x * (1 - mud) + mud * _tint(_MUD, x)


def water_of(liquid: Tensor) -> Tensor:
    """Return how bright water is, (B, 1, H, W) in [0, 1], 1 at an image's brightest drop, of a layer of liquid."""
    grey = (liquid[:, 0] * 255).long().clamp(0, 255)
    distance = measure_distance(find_edges(grey, 50, 150), _FARTHEST) / UNIT
    near = even_out((_weighted(distance, _MEAN) / 9).long())
    sharp = _weighted(near, _SHARPEN).long().clamp(0, 255)
    bright = (grey * (_weighted(sharp, _MEAN) / 9).round()).to(liquid.dtype)
    return (bright / bright.amax((1, 2), keepdim=True).clamp(min=1))[:, None]


def _weighted(images: Tensor, weights: tuple[tuple[float, ...], ...]) -> Tensor:
    return neighbourhood(images, torch.tensor(weights, device=images.device))


def _tint(colour: tuple[int, int, int], x: Tensor) -> Tensor:
    """Return a colour (1, C, 1, 1) as images of so many channels have it."""
    tint = torch.tensor(colour, dtype=x.dtype, device=x.device)[None, :, None, None] / 255
    return tint if x.shape[1] == 3 else rgb_to_grayscale(tint)
