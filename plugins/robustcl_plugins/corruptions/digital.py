"""Digital: contrast, saturation, pixels, JPEG and elastic shape."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
from kornia.color import hsv_to_rgb, rgb_to_hsv
from kornia.geometry.transform import elastic_transform2d, warp_affine
from PIL import Image
from torch import Tensor

from robustcl.errors import UsageError
from robustcl.rng import Rng


def contrast(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Return x moved towards its mean per channel, to 0.75 to 0.15 of its distance."""
    kept = (0.75, 0.5, 0.4, 0.3, 0.15)[severity - 1]
    mean = x.mean((2, 3), keepdim=True)
    return (x - mean) * kept + mean


def saturate(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Return x with its saturation changed; of images with three channels. Raises UsageError for others."""
    factor, more = ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))[severity - 1]
    if x.shape[1] != 3:
        raise UsageError(f"saturate needs colour, and the images have {x.shape[1]} channels: leave it out")
    hue, saturation, value = rgb_to_hsv(x).unbind(1)
    changed: Tensor = hsv_to_rgb(torch.stack([hue, (saturation * factor + more).clamp(0, 1), value], 1))
    return changed


def pixelate(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Return x made smaller, to 0.95 to 0.65 of its sides, and larger again, both with Pillow's box filter."""
    share = (0.95, 0.9, 0.85, 0.75, 0.65)[severity - 1]
    height, width = x.shape[2:]
    small, box = (max(int(width * share), 1), max(int(height * share), 1)), Image.Resampling.BOX
    # Pillow knows no images of two channels or five: each channel is one of its own.
    return _through_pillow(x.flatten(0, 1)[:, None], lambda p: p.resize(small, box).resize((width, height), box), x)


def jpeg_compression(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Return x after JPEG of quality 80 to 40; of one or three channels. Raises UsageError for others."""
    quality = (80, 65, 58, 50, 40)[severity - 1]
    if x.shape[1] not in (1, 3):
        raise UsageError(f"jpeg_compression takes 1 or 3 channels, and the images have {x.shape[1]}: leave it out")

    def packed(picture: Image.Image) -> Image.Image:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _through_pillow(x, packed, x)


def elastic_transform(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Return x after a random affine map, and pushed about by a smooth random field; both grow with the side."""
    push, smooth, shift = (
        (0.0, 0.0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    )[severity - 1]
    batch, _, height, width = x.shape
    side = min(height, width)
    warped: Tensor = warp_affine(x, _affine(x, shift * side, rng), (height, width), padding_mode="reflection")
    if push == 0.0:
        return warped
    field = rng.uniform((batch, 2, height, width), -1.0, 1.0, device=x.device)
    sigma = smooth * side
    kernel = 2 * int(3 * sigma + 0.5) + 1
    # Kornia measures the push in half widths of the image.
    strength = (2 * push * side / width, 2 * push * side / height)
    pushed: Tensor = elastic_transform2d(
        warped, field, (kernel, kernel), (sigma, sigma), strength, padding_mode="reflection"
    )
    return pushed


def _affine(x: Tensor, shift: float, rng: Rng) -> Tensor:
    """Return maps (B, 2, 3) that move three points about the centre by up to ``shift`` pixels each."""
    height, width = x.shape[2:]
    centre, third = torch.tensor([width // 2, height // 2]), min(height, width) // 3
    points = centre + third * torch.tensor([[1, 1], [1, -1], [-1, -1]])
    points = torch.cat([points, torch.ones(3, 1)], 1).to(x.device, torch.float64)
    moved = points[:, :2] + rng.uniform((len(x), 3, 2), -shift, shift, device=x.device, dtype=torch.float64)
    maps: Tensor = torch.linalg.solve(points.expand(len(x), 3, 3), moved)
    return maps.mT.to(x.dtype)


def _through_pillow(images: Tensor, change: Callable[[Image.Image], Image.Image], like: Tensor) -> Tensor:
    """Return each image (1 or 3, H, W) after a change, together in the shape of ``like``."""
    arrays = (images.clamp(0, 1) * 255).round().to("cpu", torch.uint8).movedim(1, -1).numpy()
    pictures = (Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array) for array in arrays)
    changed = [np.asarray(change(picture)) for picture in pictures]
    whole = torch.from_numpy(np.stack(changed)).reshape(*arrays.shape).movedim(-1, 1)
    return whole.reshape(like.shape).to(like.device, like.dtype) / 255
