"""The tables of a recipe's evaluations: by which protocol, on which routes, under which attacks, what beside them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from robustcl.recipe.tables import Section, Use, as_table

MAIN_ROUTE = "clean"
"""The batch-norm branch of a view that the recipe routes nowhere else."""


class Corruptions(Section):
    """``corruptions`` of an evaluation: which, how severe, and the folder of stored copies (made here without one).

    photographs: the folder of those that frost is made with; without it, frost is not made.
    """

    names: list[str] = Field(default_factory=list)
    severities: list[Annotated[int, Field(ge=1, le=5)]] = Field(default_factory=lambda: [1, 2, 3, 4, 5], min_length=1)
    path: str | None = None
    photographs: str | None = None


class AttackTable(Use):
    """An attack of an evaluation; ``samples``: of the images that are judged, only the first so many under this one."""

    samples: int | None = Field(None, ge=1)


def _corruptions(value: Any) -> Any:
    return {} if value is True else value


class Evaluate(Use):
    """``[[evaluate]]``: a protocol (``use``), the routes to judge, the attacks, the budgets of the curve, corruptions.

    ``corruptions = true`` takes the benchmark's, made from the test images as far as they can be. ``convergence`` are
    growing numbers of steps of the first attack, each judged anew.
    """

    route: list[str] = Field(default_factory=lambda: [MAIN_ROUTE])
    attacks: list[Annotated[AttackTable, BeforeValidator(as_table)]] = Field(
        default_factory=lambda: [AttackTable(use="pgd-20")]
    )
    stage: str | None = None
    encoder: str = "online"
    block: int = Field(250, ge=1)
    samples: int | None = Field(None, ge=1)
    curve: list[str | float | int] = Field(default_factory=list)
    corruptions: Annotated[Corruptions, BeforeValidator(_corruptions)] | None = None
    audit: int | None = Field(None, ge=0)
    convergence: list[int] | None = None

    def first(self, number: int) -> int | None:
        """Return how many images are judged under the attack of a number, the first ones; ``None`` for all of them."""
        limits = [limit for limit in (self.samples, self.attacks[number].samples) if limit is not None]
        return min(limits, default=None)
