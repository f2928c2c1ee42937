"""FGSM at evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from robustcl.protocols import Need, PerturbationGenerator
from robustcl.threat import Ball
from robustcl_plugins.generators.fgsm import FGSM


class FGSMAttack:
    """One step across the ball on the cross-entropy."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PREDICTIONS, Need.LABELS})
    citation: ClassVar[str] = FGSM.citation

    def members(self, classes: int, ball: Ball) -> Sequence[tuple[str, PerturbationGenerator]]:
        return [("fgsm", FGSM())]
