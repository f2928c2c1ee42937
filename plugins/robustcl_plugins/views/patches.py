"""An image cut into patches, in random order; the pretext target is where each patch came from."""

from __future__ import annotations

from typing import Annotated, ClassVar

import annotated_types
import torch
from torch import Tensor

from robustcl.errors import UsageError
from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl_plugins.views.geometry import check_images


class Patches:
    """The grid x grid patches of an image in a random order of its own: (B, C, H, W) -> (B, P, C, H/grid, W/grid).

    The target (B, P) int64 is the order: which place of the grid, counted row by row, each patch was cut from. The
    encoder embeds every patch by itself. Pixels are only moved, so a gradient passes. The paper leaves open whether a
    batch shares one order; its released code does so, and here every image has its own.

    grid: patches along each side; it must divide both sides of the image.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = (
        "T. H. Trinh, M.-T. Luong, Q. V. Le, Selfie: Self-supervised Pretraining for Image Embedding, 2019, section 2"
    )
    makes_target: ClassVar[bool] = True

    def __init__(self, *, grid: Annotated[int, annotated_types.Ge(2)] = 4) -> None:
        self.grid = grid

    def draw(self, x: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return the patches (B, P, C, h, w) of images x and their places (B, P)."""
        patches = cut("patches", x, self.grid)
        keys = rng.uniform(patches.shape[:2], device=x.device, dtype=torch.float64)
        order = keys.argsort(dim=1)
        return patches[torch.arange(len(x), device=x.device)[:, None], order], order


def cut(view: str, x: Tensor, grid: int) -> Tensor:
    """Return the grid x grid patches (B, P, C, h, w) of images x (B, C, H, W), row by row.

    Raises UsageError where the grid does not divide the sides.
    """
    check_images(view, x)
    height, width = x.shape[-2:]
    if height % grid or width % grid:
        raise UsageError(
            f"the view {view!r} cuts {grid} x {grid} patches, which does not go into images of {height} x {width} "
            f"pixels: choose a grid that divides both sides, e.g. grid = {_divisor(height, width, grid)}"
        )
    tiles = x.reshape(*x.shape[:2], grid, height // grid, grid, width // grid)  # (B, C, row, h, column, w)
    return tiles.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)


def join(patches: Tensor, grid: int) -> Tensor:
    """Return the images (B, C, H, W) of patches (B, P, C, h, w): the reverse of ``cut``."""
    tiles = patches.reshape(len(patches), grid, grid, *patches.shape[2:]).permute(0, 3, 1, 4, 2, 5)
    return tiles.flatten(4, 5).flatten(2, 3)


def _divisor(height: int, width: int, grid: int) -> int:
    """Return the largest number up to ``grid`` that divides both sides."""
    return max(number for number in range(1, grid + 1) if height % number == 0 and width % number == 0)
