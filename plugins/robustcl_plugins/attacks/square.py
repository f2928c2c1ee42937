"""The Square Attack at evaluation: what needs no gradient finds what masked gradients hide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from robustcl.options import Count
from robustcl.protocols import Need, PerturbationGenerator
from robustcl.threat import Ball
from robustcl_plugins.generators.square import Square


class SquareAttack:
    """Random search with 5,000 queries and the halvings of the window as AutoAttack's last member has them.

    queries: forward passes for each sample and restart.
    restarts: searches of the samples that still stand.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PREDICTIONS, Need.LABELS})
    citation: ClassVar[str] = Square.citation

    def __init__(self, *, queries: Count = 5000, restarts: Count = 1) -> None:
        self.queries = queries
        self.restarts = restarts

    def members(self, classes: int, ball: Ball) -> Sequence[tuple[str, PerturbationGenerator]]:
        return [("square", Square(queries=self.queries, rescale=False, restarts=self.restarts))]
