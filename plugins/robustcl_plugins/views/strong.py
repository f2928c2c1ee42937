"""The strong view of contrastive learning: crop, mirror, colour jitter, grey, blur."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import annotated_types
import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor

from robustcl.options import Fraction, NonNegative, Positive, Ratio
from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl_plugins.views import colour
from robustcl_plugins.views.geometry import Interpolation, check_images, crop_boxes, resized_crop


@dataclass(frozen=True, slots=True)
class Colours:
    """What happens to the colours of each image.

    amount: (B, 4) factors of brightness, contrast and saturation, and the turn of hue; order: (B, 4) which
    comes first;
    jittered, greyed, blurred: (B,) bool; sigma: (B,) of the blur, in pixels.
    """

    amount: Tensor
    order: Tensor
    jittered: Tensor
    greyed: Tensor
    blurred: Tensor
    sigma: Tensor


class Strong:
    """SimCLR's augmentation with ACL's strength: random resized crop, flip, jitter, grey, blur, per image.

    At ``strength`` s the smallest crop is 1 - (1 - scale) s of the area, the jitter's magnitudes are
    multiplied by s, and so are the probabilities of jitter, grey and blur; the flip's is not. The defaults
    are ACL's and DynACL's strong(s) on CIFAR (DynACL resizes bilinearly); NCP's first stage is ``scale =
    0.08, blur = 0.5``. The order of the four jitter operations is drawn for each image. Images with other
    than three channels keep their hue, saturation and grey. Bicubic values may leave [0, 1] slightly; the
    core clamps them.

    strength: how strong, 0 .. 1; 0 leaves only the flip.
    scale: the smallest crop's share of the area at strength 1.
    ratio: the crop's width / height lies between 1 / ratio and ratio.
    interpolation: how the crop is resized.
    flip: the probability of the mirror image; 0 for what has a handedness, such as digits.
    brightness, contrast, saturation: factors are uniform in [max(0, 1 - b), 1 + b] for an option b.
    hue: turns are uniform in [-hue, hue] of the colour circle.
    jitter, grey, blur: the probabilities at strength 1.
    blur_low, blur_high: the blur's sigma is uniform between them, in pixels.
    blur_size: the blur kernel's share of the shorter side, rounded up to an odd number of pixels, 3 at least.
    order: whether the crop or the colour operations come first (RoCL: colour-first).
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = (
        "T. Chen, S. Kornblith, M. Norouzi, G. Hinton, A Simple Framework for Contrastive Learning of Visual "
        "Representations, ICML 2020, appendix A; Z. Jiang, T. Chen, T. Chen, Z. Wang, Robust Pre-Training by "
        "Adversarial Contrastive Learning, NeurIPS 2020; strength: R. Luo, Y. Wang, Y. Wang, Rethinking the "
        "Effect of Data Augmentation in Adversarial Contrastive Learning, ICLR 2023"
    )

    def __init__(
        self,
        *,
        strength: Fraction = 1.0,
        scale: Annotated[float, annotated_types.Gt(0), annotated_types.Le(1)] = 0.1,
        ratio: Annotated[Ratio, annotated_types.Ge(1)] = 4 / 3,
        interpolation: Interpolation = "bicubic",
        flip: Fraction = 0.5,
        brightness: NonNegative = 0.4,
        contrast: NonNegative = 0.4,
        saturation: NonNegative = 0.4,
        hue: Annotated[float, annotated_types.Ge(0), annotated_types.Le(0.5)] = 0.1,
        jitter: Fraction = 0.8,
        grey: Fraction = 0.2,
        blur: Fraction = 0.0,
        blur_low: Positive = 0.1,
        blur_high: Positive = 2.0,
        blur_size: Fraction = 0.1,
        order: Literal["crop-first", "colour-first"] = "crop-first",
    ) -> None:
        self.strength = strength
        self.scale = scale
        self.ratio = ratio
        self.interpolation = interpolation
        self.flip = flip
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.hue = hue
        self.jitter = jitter
        self.grey = grey
        self.blur = blur
        self.blur_low = blur_low
        self.blur_high = blur_high
        self.blur_size = blur_size
        self.order = order

    def draw(self, x: Tensor, rng: Rng) -> Tensor:
        """Return the view (B, C, H, W) of images x in [0, 1]. Raises UsageError for other shapes."""
        check_images("strong", x)
        boxes, mirrored = self.crops(x, rng.child("crop"))
        colours = self.colours(x, rng.child("colour"))
        steps: list[Callable[[Tensor], Tensor]] = [
            lambda image: resized_crop(image, boxes, mirrored, self.interpolation),
            lambda image: self._coloured(image, colours),
        ]
        for step in steps if self.order == "crop-first" else reversed(steps):
            x = step(x)
        return x

    def crops(self, x: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Draw each image's crop (B, 4): top, left, height, width; and whether it is mirrored (B,)."""
        smallest = 1.0 - (1.0 - self.scale) * self.strength
        boxes = crop_boxes(x, smallest, self.ratio, rng)
        return boxes, rng.uniform((len(x),), device=x.device) < self.flip

    def colours(self, x: Tensor, rng: Rng) -> Colours:
        """Draw what happens to each image's colours."""
        batch, device, strength = len(x), x.device, self.strength
        spread = [strength * option for option in (self.brightness, self.contrast, self.saturation)]
        low = torch.tensor([max(0.0, 1.0 - b) for b in spread] + [-strength * self.hue], device=device)
        high = torch.tensor([1.0 + b for b in spread] + [strength * self.hue], device=device)
        chance = torch.tensor([self.jitter, self.grey, self.blur], device=device) * strength
        happens = rng.uniform((batch, 3), device=device) < chance
        return Colours(
            amount=low + (high - low) * rng.uniform((batch, 4), device=device),
            order=rng.uniform((batch, 4), device=device).argsort(1),
            jittered=happens[:, 0],
            greyed=happens[:, 1],
            blurred=happens[:, 2],
            sigma=rng.uniform((batch,), self.blur_low, self.blur_high, device=device),
        )

    def _coloured(self, x: Tensor, colours: Colours) -> Tensor:
        # The blends assume pixels; a bicubic crop overshoots.
        x = colour.jitter(x.clamp(0, 1), colours.amount, colours.order, colours.jittered)
        x = colour.greyed(x, colours.greyed)
        if self.blur == 0:
            return x
        return self._blurred(x, colours)

    def _blurred(self, x: Tensor, colours: Colours) -> Tensor:
        rows = colours.blurred.nonzero().flatten()
        if len(rows) == 0:
            return x
        side = min(x.shape[-2:])
        size = max(3, int(side * self.blur_size) // 2 * 2 + 1)
        sigma = colours.sigma[rows, None].expand(-1, 2).to(x.dtype)
        out = x.clone()
        out[rows] = gaussian_blur2d(x[rows], (size, size), sigma)
        return out
