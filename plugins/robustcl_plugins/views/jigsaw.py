"""An image whose patches are shuffled by one of a few fixed permutations; the pretext target is which one."""

from __future__ import annotations

import functools
import math
from typing import Annotated, ClassVar

import annotated_types
import torch
from torch import Tensor

from robustcl.errors import UsageError
from robustcl.options import Count, Fraction
from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl_plugins.views.patches import cut, join


class Jigsaw:
    """Place j of the view shows patch pi_t(j) of the image (B, C, H, W); t is uniform over 0 .. permutations.

    The target t (B,) int64 is 0 for the untouched image and k for the k-th permutation; an objective needs one class
    more than there are permutations. They are drawn once, from ``seed`` alone, all different and none the identity.

    grid: patches along each side; it must divide both sides of the image.
    permutations: how many there are; Chen et al. take 30.
    identity: the share of images left untouched before t is drawn for the rest; with 0.1 and 30 permutations
    0.1 + 0.9 / 31, about 13 %, are untouched, as in Chen et al.'s released code. The paper does not name it.
    seed: of the permutations; the same in every run unless it is changed.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = (
        "F. M. Carlucci, A. D'Innocente, S. Bucci, B. Caputo, T. Tommasi, Domain Generalization by Solving Jigsaw "
        "Puzzles, CVPR 2019, section 3; as a robust pretext task T. Chen, S. Liu, S. Chang, Y. Cheng, L. Amini, "
        "Z. Wang, Adversarial Robustness: From Self-Supervised Pre-Training to Fine-Tuning, CVPR 2020"
    )
    makes_target: ClassVar[bool] = True

    def __init__(
        self,
        *,
        grid: Annotated[int, annotated_types.Ge(2)] = 4,
        permutations: Count = 30,
        identity: Fraction = 0.1,
        seed: int = 0,
    ) -> None:
        self.grid = grid
        self.permutations = permutations
        self.identity = identity
        self.seed = seed

    def draw(self, x: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return the shuffled images (B, C, H, W) and the numbers of their permutations (B,)."""
        patches = cut("jigsaw", x, self.grid)
        table = orders(self.grid**2, self.permutations, self.seed).to(x.device)
        target = rng.integers(len(table), (len(x),), device=x.device)
        untouched = rng.uniform((len(x),), device=x.device) < self.identity
        target = torch.where(untouched, 0, target)
        return join(patches[torch.arange(len(x), device=x.device)[:, None], table[target]], self.grid), target


@functools.lru_cache(maxsize=16)
def orders(patches: int, permutations: int, seed: int) -> Tensor:
    """Return the identity and the fixed permutations of some patches, (permutations + 1, patches) int64.

    Raises UsageError where there are not so many.
    """
    there = math.factorial(patches) - 1
    if permutations > there:
        raise UsageError(
            f"jigsaw: {patches} patches have only {there} permutations beside the identity, not {permutations}: "
            f"set permutations = {there} or less, or a finer grid"
        )
    rng = Rng(seed, "jigsaw", patches)
    found = [tuple(range(patches))]
    while len(found) <= permutations:
        order = tuple(rng.permutation(patches).tolist())
        if order not in found:
            found.append(order)
    return torch.tensor(found)
