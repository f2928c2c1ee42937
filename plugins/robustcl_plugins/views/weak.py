"""The weak view of supervised training: a shifted crop and a mirror image."""

from __future__ import annotations

from typing import Annotated, ClassVar

import annotated_types
import torch
from torch import Tensor, nn

from robustcl.options import Fraction
from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl_plugins.views.geometry import check_images


class Weak:
    """Random crop of the zero-padded image, then a horizontal flip; of every image (C, H, W), any size.

    padding: pixels of zeros on each side; the crop's place is uniform over the 2 * padding + 1 shifts of
    each axis.
    flip: the probability of the mirror image; 0 for what has a handedness, such as digits.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "K. He, X. Zhang, S. Ren, J. Sun, Deep Residual Learning for Image Recognition, CVPR 2016"

    def __init__(self, *, padding: Annotated[int, annotated_types.Ge(0)] = 4, flip: Fraction = 0.5) -> None:
        self.padding = padding
        self.flip = flip

    def draw(self, x: Tensor, rng: Rng) -> Tensor:
        """Return the view (B, C, H, W) of images x; pixels are moved, never blended."""
        check_images("weak", x)
        rows, columns = self.shift(x, rng)
        padded = nn.functional.pad(x, (self.padding,) * 4)
        image = torch.arange(len(x), device=x.device)[:, None, None]
        return padded[image, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()

    def shift(self, x: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return which rows (B, H) and columns (B, W) of the padded image become the view's."""
        height, width = x.shape[-2:]
        corner = rng.integers(2 * self.padding + 1, (len(x), 2), device=x.device)
        mirrored = rng.uniform((len(x), 1), device=x.device) < self.flip
        rows = corner[:, :1] + torch.arange(height, device=x.device)
        columns = corner[:, 1:] + torch.arange(width, device=x.device)
        return rows, torch.where(mirrored, columns.flip(1), columns)
