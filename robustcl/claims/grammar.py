"""``[[claim]]`` of a study: a sentence of the paper, where it stands, and one test over the study's own numbers.

A side of a test is one or several cells of the study's table, by row, column and point of the axes; where there are
several, the claim is of all of them. A column with ``{}`` in its name stands for every value that it is swept over.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from robustcl.recipe import Section


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1)]
"""A name, or several."""
Point = dict[str, Any]
"""Axis -> a value of it, or several; ``on`` names the other data set where a study has several."""


class Above(Section):
    """The cells of ``row`` lie above those of ``than``, by more than ``by`` in the column's unit (points for shares).

    than: rows; every other row where it, ``than_at`` and ``than_column`` are left out, ``row`` itself where one of
    these two is there. than_at: the point of the other side; without it both sides are compared at the same points.
    A ``by`` below 0 is how far below ``row`` may lie.
    """

    row: Names | None = None
    than: Names | None = None
    column: Names
    than_column: str | None = None
    at: Point = Field(default_factory=dict)
    than_at: Point | None = None
    by: float = 0.0


class Alike(Section):
    """The cells of ``row`` lie within ``within`` of those of ``than``; the other keys as in ``Above``."""

    row: Names | None = None
    than: Names | None = None
    column: Names
    than_column: str | None = None
    at: Point = Field(default_factory=dict)
    than_at: Point | None = None
    within: float = Field(gt=0)


class Ratio(Section):
    """The cells of ``row`` are at least or at most so many times those of ``than``; the other keys as in ``Above``."""

    row: Names | None = None
    than: Names | None = None
    column: Names
    than_column: str | None = None
    at: Point = Field(default_factory=dict)
    than_at: Point | None = None
    at_least: float | None = Field(None, gt=0)
    at_most: float | None = Field(None, gt=0)


class Gains(Section):
    """``row`` has more above ``over`` than ``than`` has above ``than_over``, by more than ``by``."""

    row: str
    over: str
    than: str
    than_over: str
    column: Names
    at: Point = Field(default_factory=dict)
    by: float = 0.0


class Trend(Section):
    """A column rises, falls or peaks along an axis, or along the values of a swept column, whose name has ``{}``.

    row: rows, all of them where it is left out. minus: a row that is taken away from each. values: those to look at, in
    that order; without them numbers in ascending order, or names as the study has them. up, down: the straight line
    through the values, taken at equal distances, rises or falls by more than ``by`` from its first to its last. peak:
    where it lies; without it, at some value between the first and the last.
    """

    row: Names | None = None
    minus: str | None = None
    column: Names
    axis: str | None = None
    at: Point = Field(default_factory=dict)
    values: list[Any] | None = None
    direction: Literal["up", "down", "peak"]
    peak: float | int | str | None = None
    by: float = 0.0


class Least(Section):
    """From which size on a claim is meant; below, it counts as not run.

    budget: of smoke, small and paper; one of another name counts as small. seeds: that all of its cells have. images:
    judged in each of its cells that counts images. steps: of the optimiser, in all stages of a row together, where the
    study trains it; of a trend along an axis, where along it they are most. above: what each of its numbers has to
    exceed, in the columns' unit, the mean over seeds: numbers of collapsed models are alike. dataset: the data sets
    that it is about, all where none is named.
    """

    budget: Literal["smoke", "small", "paper"] = "small"
    seeds: int = Field(1, ge=1)
    images: int = Field(1, ge=1)
    steps: int = Field(400, ge=0)
    above: float | None = None
    dataset: list[str] = Field(default_factory=list)


class Claim(Section):
    """``[[claim]]``: what the paper says, in words of our own, and exactly one of the tests."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    says: str = Field(min_length=1)
    place: str = Field(min_length=1)
    least: Least = Least()
    above: Above | None = None
    alike: Alike | None = None
    ratio: Ratio | None = None
    gains: Gains | None = None
    trend: Trend | None = None

    @property
    def test(self) -> Above | Alike | Ratio | Gains | Trend | None:
        """The test, the first one where there are several; ``None`` where there is none."""
        return next((test for test in self.tests if test is not None), None)

    @property
    def tests(self) -> tuple[Above | Alike | Ratio | Gains | Trend | None, ...]:
        """Each kind of test, ``None`` for those that the claim does not have."""
        return self.above, self.alike, self.ratio, self.gains, self.trend

    def asked(self) -> dict[str, Any]:
        """Return what the claim is decided by, as it is written."""
        plain: dict[str, Any] = self.model_dump(exclude_unset=True, exclude={"name", "says", "place"}, mode="json")
        return plain


KINDS = ("above", "alike", "ratio", "gains", "trend")
"""The keys of the tests, in the order of ``Claim.tests``."""
