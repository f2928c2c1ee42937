"""PGD at evaluation: the attack that every paper of the field reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from robustcl.options import Count, Length
from robustcl.protocols import Need, PerturbationGenerator
from robustcl.threat import Ball
from robustcl_plugins.generators.pgd import PGD


class PGDAttack:
    """PGD with 20 steps on the cross-entropy from a uniform start; by default of eps/4, 2/255 at 8/255 as in ACL.

    For another number of steps name the generator as the attack, { use = "pgd", steps = 250 }: a figure called pgd-20
    has 20 of them.

    step_size: of each step, in the norm of the ball; left out, eps/4.
    restarts: each sample keeps the one with the largest loss.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PREDICTIONS, Need.LABELS})
    citation: ClassVar[str] = PGD.citation

    def __init__(self, *, step_size: Length | None = None, restarts: Count = 1) -> None:
        self.step_size = step_size
        self.restarts = restarts

    def members(self, classes: int, ball: Ball) -> Sequence[tuple[str, PerturbationGenerator]]:
        return [("pgd-20", PGD(steps=20, step_size=self.step_size, restarts=self.restarts))]
