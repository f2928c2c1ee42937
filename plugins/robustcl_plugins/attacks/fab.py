"""FAB-T at evaluation: the minimal-distance member of AutoAttack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from robustcl.options import Class, Count
from robustcl.protocols import Need, PerturbationGenerator
from robustcl.threat import Ball
from robustcl_plugins.generators.fab import FAB
from robustcl_plugins.generators.margin import target_count


class FABAttack:
    """Targeted FAB as in AutoAttack's standard ensemble: 100 steps toward each of the 9 most likely wrong classes.

    steps: linearisations for each target. targets: how many wrong classes; left out nine, or all where there are fewer.
    restarts: rounds over the targets. target: the one class to reach, in the place of ``targets``.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PREDICTIONS, Need.LABELS})
    citation: ClassVar[str] = FAB.citation

    def __init__(
        self, *, steps: Count = 100, targets: Count | None = None, restarts: Count = 1, target: Class | None = None
    ) -> None:
        if target is not None and targets is not None:
            raise ValueError("target names the one class to reach, targets a number of them: leave one out")
        self.steps = steps
        self.targets = targets
        self.restarts = restarts
        self.target = target

    def members(self, classes: int, ball: Ball) -> Sequence[tuple[str, PerturbationGenerator]]:
        target_count(self.targets, classes, "fab")
        return [("fab-t", FAB(steps=self.steps, targets=self.targets, restarts=self.restarts, target=self.target))]
