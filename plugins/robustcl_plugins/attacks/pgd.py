"""PGD at evaluation: the attack that every paper of the field reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from robustcl.options import Count, Ratio
from robustcl.protocols import Need, PerturbationGenerator
from robustcl.threat import Ball
from robustcl_plugins.generators.pgd import PGD


class PGDAttack:
    """One PGD on the cross-entropy from a uniform start; by default 20 steps of 2/255, as ACL and DeACL.

    steps, step_size: of each restart, in the norm of the ball.
    restarts: each sample keeps the one with the largest loss.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PREDICTIONS, Need.LABELS})
    citation: ClassVar[str] = PGD.citation

    def __init__(self, *, steps: Count = 20, step_size: Ratio = 2 / 255, restarts: Count = 1) -> None:
        self.steps = steps
        self.step_size = step_size
        self.restarts = restarts

    def members(self, classes: int, ball: Ball) -> Sequence[tuple[str, PerturbationGenerator]]:
        return [(f"pgd-{self.steps}", PGD(steps=self.steps, step_size=self.step_size, restarts=self.restarts))]
