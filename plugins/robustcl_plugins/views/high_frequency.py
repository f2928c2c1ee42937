"""The high-frequency part of an image, which AdvCL takes as one more positive."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from robustcl.errors import UsageError
from robustcl.options import NonNegative
from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl_plugins.views.geometry import check_images


class HighFrequency:
    """F^-1(M * F(x)) per channel: the mask M takes out every frequency nearer to zero than ``radius``.

    F is the two-dimensional Fourier transform with the zero frequency moved to the centre (H // 2, W // 2); M is 0
    where the distance from there is below the radius and 1 elsewhere. The real part is taken and not clamped, so
    values may be negative: a constant image gives 0, and radius 0 gives the image back. Nothing is drawn at random;
    ``of`` in the recipe says of which view the high frequencies are.

    radius: of the low frequencies that are taken out, in cycles per image; the released code has 8 for 32 pixels.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = (
        "Fan, Liu, Chen, Zhang and Gan, When Does Contrastive Learning Preserve Adversarial Robustness from "
        "Pretraining to Finetuning?, NeurIPS 2021, section 4 (the view x_h)"
    )
    range: ClassVar[tuple[float, float] | None] = None

    def __init__(self, *, radius: NonNegative = 8.0) -> None:
        self.radius = radius

    def draw(self, x: Tensor, rng: Rng) -> Tensor:
        """Return the high frequencies (B, C, H, W) of images x. Raises UsageError if none would be left."""
        check_images("high-frequency", x)
        kept = _distance(x) >= self.radius
        if not bool(kept.any()):
            height, width = x.shape[-2:]
            raise UsageError(
                f"the view 'high-frequency' with radius = {self.radius:g} leaves nothing of images of {height} x "
                f"{width} pixels: take a smaller radius, e.g. {min(height, width) / 4:g}"
            )
        # Half precision has no Fourier transform for most sizes.
        with torch.autocast(x.device.type, enabled=False):
            spectrum = torch.fft.fftshift(torch.fft.fft2(x), dim=(-2, -1)) * kept
            high: Tensor = torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1))).real
            return high


def _distance(x: Tensor) -> Tensor:
    """Return how far each frequency (H, W) lies from the zero frequency at the centre."""
    height, width = x.shape[-2:]
    rows = torch.arange(height, device=x.device, dtype=x.dtype) - height // 2
    columns = torch.arange(width, device=x.device, dtype=x.dtype) - width // 2
    return torch.hypot(rows[:, None], columns)
