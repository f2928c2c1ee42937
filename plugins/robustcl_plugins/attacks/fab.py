"""FAB-T at evaluation: the minimal-distance member of AutoAttack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from robustcl.options import Count
from robustcl.protocols import Need, PerturbationGenerator
from robustcl.threat import Ball
from robustcl_plugins.generators.fab import FAB


class FABAttack:
    """Targeted FAB as in AutoAttack's standard ensemble: 100 steps toward each of the 9 most likely wrong classes.

    steps: linearisations for each target. targets: how many wrong classes, at most all of them. restarts: rounds
    over the targets.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PREDICTIONS, Need.LABELS})
    citation: ClassVar[str] = FAB.citation

    def __init__(self, *, steps: Count = 100, targets: Count = 9, restarts: Count = 1) -> None:
        self.steps = steps
        self.targets = targets
        self.restarts = restarts

    def members(self, classes: int, ball: Ball) -> Sequence[tuple[str, PerturbationGenerator]]:
        return [("fab-t", FAB(steps=self.steps, targets=self.targets, restarts=self.restarts))]
