"""FGSM at evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from robustcl.options import Class
from robustcl.protocols import Need, PerturbationGenerator
from robustcl.threat import Ball
from robustcl_plugins.generators.fgsm import FGSM


class FGSMAttack:
    """One step across the ball on the cross-entropy.

    target: the class to reach; left out, any wrong one.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PREDICTIONS, Need.LABELS})
    citation: ClassVar[str] = FGSM.citation

    def __init__(self, *, target: Class | None = None) -> None:
        self.target = target

    def members(self, classes: int, ball: Ball) -> Sequence[tuple[str, PerturbationGenerator]]:
        return [("fgsm", FGSM(target=self.target))]
