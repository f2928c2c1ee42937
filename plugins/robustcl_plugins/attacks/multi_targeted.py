"""Multi-targeted PGD at evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from robustcl.options import Count, Length
from robustcl.protocols import Need, PerturbationGenerator
from robustcl.threat import Ball
from robustcl_plugins.generators.margin import target_count
from robustcl_plugins.generators.multi_targeted_pgd import MultiTargetedPGD


class MultiTargetedPGDAttack:
    """PGD with 100 steps on z_t - z_y, for every wrong class t in turn.

    For another number of steps name the generator as the attack, { use = "multi-targeted-pgd", steps = 200 }.

    step_size: of each step, in the norm of the ball; left out, a quarter of eps.
    restarts: random starts for each class.
    targets: attack only so many of the likeliest wrong classes, no more than there are; left out: all.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PREDICTIONS, Need.LABELS})
    citation: ClassVar[str] = MultiTargetedPGD.citation

    def __init__(self, *, step_size: Length | None = None, restarts: Count = 1, targets: Count | None = None) -> None:
        self.step_size = step_size
        self.restarts = restarts
        self.targets = targets

    def members(self, classes: int, ball: Ball) -> Sequence[tuple[str, PerturbationGenerator]]:
        if self.targets is not None:
            target_count(self.targets, classes, "mt-pgd")
        generator = MultiTargetedPGD(steps=100, step_size=self.step_size, restarts=self.restarts, targets=self.targets)
        return [("mt-pgd", generator)]
