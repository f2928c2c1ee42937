"""One gradient step away from the clean features."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from robustcl.options import Positive
from robustcl.protocols import Need
from robustcl.search import ascend
from robustcl.types import Attack


class Hello:
    """The fast gradient step from a random start, away from the features of the clean input.

    Maximises the squared distance to the clean features, which needs no labels and no other plugin.

    stride: the length of the step, in radii of the ball; what leaves the ball is projected back.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.FEATURES})
    citation: ClassVar[str] = (
        "Wong, Rice and Kolter, Fast is better than free: Revisiting adversarial training, ICLR 2020, Algorithm 3"
    )

    def __init__(self, *, stride: Positive = 1.25) -> None:
        self.stride = stride

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        """Return inputs (R, *item) in the ball around x, detached."""
        clean = attack.clean().h

        def distance(candidates: Tensor) -> Tensor:
            return (attack.encode(candidates).h - clean).square().sum(dim=1)

        return ascend(x, distance, attack.ball, steps=1, step_size=self.stride * attack.ball.eps, rng=attack.rng)
