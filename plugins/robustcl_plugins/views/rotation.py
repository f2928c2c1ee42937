"""An image turned by a multiple of a right angle; the pretext target is by how many."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from robustcl.errors import UsageError
from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl_plugins.views.geometry import check_images


class Rotation:
    """The image (B, C, S, S) turned anticlockwise by t right angles, t uniform in 0 .. 3; the target is t (B,).

    Gidaris et al. show every image in all four directions at once; Chen et al.'s released code shows each image in
    one of them, each direction equally often within a batch. Here t is drawn for each image by itself.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = (
        "S. Gidaris, P. Singh, N. Komodakis, Unsupervised Representation Learning by Predicting Image Rotations, "
        "ICLR 2018, eq. 2; as a robust pretext task T. Chen, S. Liu, S. Chang, Y. Cheng, L. Amini, Z. Wang, "
        "Adversarial Robustness: From Self-Supervised Pre-Training to Fine-Tuning, CVPR 2020"
    )
    makes_target: ClassVar[bool] = True

    def draw(self, x: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return the turned images (B, C, S, S) and the numbers of turns (B,)."""
        check_images("rotation", x)
        height, width = x.shape[-2:]
        if height != width:
            raise UsageError(
                f"the view 'rotation' turns square images only, not {height} x {width} pixels: crop them square first"
            )
        turns = rng.integers(4, (len(x),), device=x.device)
        turned = torch.stack([torch.rot90(x, number, (2, 3)) for number in range(4)])
        return turned[turns, torch.arange(len(x), device=x.device)], turns
