"""The fast gradient sign method: one step across the whole ball."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from robustcl import search
from robustcl.options import Class
from robustcl.protocols import Need
from robustcl.types import Attack


class FGSM:
    """x + eps sign(gradient) under Linf, else one step of length eps along the steepest direction.

    Maximises the term that the recipe names, the cross-entropy at evaluation. target: at evaluation, the class to
    reach: the step then goes down its cross-entropy.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.OBJECTIVE})
    citation: ClassVar[str] = (
        "Goodfellow, Shlens and Szegedy, Explaining and Harnessing Adversarial Examples, ICLR 2015, section 4"
    )

    def __init__(self, *, target: Class | None = None) -> None:
        self.target = target

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        return search.ascend(
            x,
            lambda v: attack.objective(attack.encode(v)),
            attack.ball,
            steps=1,
            step_size=attack.ball.eps,
            rng=attack.rng,
            start="none",
        )
