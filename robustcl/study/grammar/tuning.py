"""Tuning inside a study: the same number of values for every row, and validation images that choose among them.

Every seed chooses for itself, so that the spread over seeds has the choice in it, and no test image is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from robustcl.errors import UsageError
from robustcl.study.grammar.columns import Accuracy
from robustcl.study.grammar.study import Row, Study, Tuned


@dataclass(frozen=True, slots=True)
class Tried:
    """A value that is tried at a path of a recipe."""

    path: str
    value: Any

    def __str__(self) -> str:
        return f"{self.path.rpartition('.')[2]} = {self.value}"


def values(study: Study, row: Row) -> list[Tried | None]:
    """Return what is tried for a row; ``None`` alone where nothing is tuned."""
    tuned = _tuned(study, row)
    return [None] if tuned is None else [Tried(tuned.path, value) for value in tuned.values]


def check(study: Study, where: str) -> None:
    """Refuse grids of different sizes, and a column that cannot choose.

    Raises:
        UsageError: as said.
    """
    if study.tuned is None:
        given = next((row.name for row in study.row if row.tuned is not None), None)
        if given is not None:
            raise UsageError(f"{where}: row.{given}.tuned: the study tunes nothing; give it a [tuned] of its own, so "
                             "that every row is tuned alike")  # fmt: skip
        return
    size = len(study.tuned.values)
    for row in study.row:
        if row.tuned is not None and len(row.tuned.values) != size:
            raise UsageError(f"{where}: row.{row.name}.tuned has {len(row.tuned.values)} values, and the study's has "
                             f"{size}: give every row as many")  # fmt: skip
        if row.is_trained:
            judge(study, row, where)


def judge(study: Study, row: Row, where: str = "") -> Accuracy:
    """Return the column whose validation number chooses for a row, on validation images.

    Raises:
        UsageError: there is none.
    """
    tuned = _tuned(study, row)
    found = [column for column in study.columns_of(row) if isinstance(column, Accuracy) and column.on == "data"]
    by = tuned.by if tuned is not None else None
    if by is not None:
        known = [column.name for column in found]
        found = [column for column in found if column.name == by]
        if not found:
            raise UsageError(f"{where}: tuned.by: there is no accuracy column {by!r}; there is {', '.join(known)}")
    if not found:
        raise UsageError(f"{where}: tuned: no accuracy column is there to choose by; add one")
    attacked = [column for column in found if column.attack is not None]
    chosen = attacked[-1] if attacked else found[0]
    return chosen.model_copy(update={"split": "validation"})


def _tuned(study: Study, row: Row) -> Tuned | None:
    return row.tuned or study.tuned
