"""RayS at evaluation: the attack that sees decisions alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from robustcl.options import Count
from robustcl.protocols import Need, PerturbationGenerator
from robustcl.threat import Ball
from robustcl_plugins.generators.rays import RayS, reach


class RaySAttack:
    """RayS with 5,000 queries, in Linf.

    queries: forward passes for each sample.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PREDICTIONS, Need.LABELS})
    citation: ClassVar[str] = RayS.citation

    def __init__(self, *, queries: Count = 5000) -> None:
        self.queries = queries

    def members(self, classes: int, ball: Ball) -> Sequence[tuple[str, PerturbationGenerator]]:
        reach(ball)
        return [("rays", RayS(queries=self.queries))]
