"""Weather: snow, fog and brightness; frost, which needs photographs, is a file of its own."""

from __future__ import annotations

import math

import torch
from kornia.color import hsv_to_rgb, rgb_to_grayscale, rgb_to_hsv
from kornia.contrib import diamond_square
from torch import Tensor

from robustcl.rng import Rng
from robustcl_plugins.corruptions.blur import zoomed
from robustcl_plugins.corruptions.pixels import motion


def snow(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Return x whitened, under flakes: normal noise, enlarged, above a threshold, falling, laid on twice.

    The second layer is the first turned by half a circle.
    """
    mean, deviation, size, threshold, radius, sigma, kept = (
        (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.95),
        (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.8),
    )[severity - 1]
    flakes = zoomed(mean + deviation * rng.normal((len(x), 1, *x.shape[2:]), device=x.device), size)
    flakes = torch.where(flakes < threshold, 0.0, flakes).clamp(0, 1)
    angle = rng.uniform((len(x), 1), -3 * math.pi / 4, -math.pi / 4, device=x.device)[:, 0]
    layer = motion(flakes, radius, sigma, angle)
    gray = rgb_to_grayscale(x) if x.shape[1] == 3 else x
    white = torch.maximum(x, gray * 1.5 + 0.5)
    return kept * x + (1 - kept) * white + layer + layer.flip((2, 3))


def fog(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Return x + c f, scaled back to the brightest value of x, with a plasma fractal f in [0, 1] and c 0.2 to 1.5."""
    amount, decay = ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))[severity - 1]

    def draw(shape: torch.Size, *, device: torch.device, dtype: torch.dtype) -> Tensor:
        return rng.uniform(tuple(shape), device=x.device, dtype=dtype)

    # In the published code the size of the wobble enters squared.
    plasma = diamond_square(
        (len(x), 1, *x.shape[2:]), roughness=1 / decay**2, random_fn=draw, normalize_range=(0.0, 1.0),
        device=x.device, dtype=x.dtype,
    )  # fmt: skip
    brightest = x.amax((1, 2, 3), keepdim=True)
    return (x + amount * plasma) * brightest / (brightest + amount)


def brightness(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Return x with 0.05 to 0.3 added to the value of hue, saturation and value."""
    more = (0.05, 0.1, 0.15, 0.2, 0.3)[severity - 1]
    if x.shape[1] != 3:
        return x + more
    hue, saturation, value = rgb_to_hsv(x).unbind(1)
    brighter: Tensor = hsv_to_rgb(torch.stack([hue, saturation, (value + more).clamp(0, 1)], 1))
    return brighter
