"""What an extra of an evaluation is: a key of ``[[evaluate]]``, a list of results.json, and the way between."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robustcl.evaluate.measure import Measurement
from robustcl.evaluate.points import Point
from robustcl.evaluate.subject import Subject
from robustcl.protocols import DatasetPlugin
from robustcl.recipe import Evaluate
from robustcl.threat import Ball
from robustcl.train.plan import Part

Entry = Mapping[str, Any]
"""An answer, as a list of results.json holds it."""


@dataclass(frozen=True, slots=True)
class AskedEvaluation:
    """An evaluation that is being composed; ``where`` is its place in the recipe."""

    table: Evaluate
    attacks: Sequence[Part]
    ball: Ball
    dataset: DatasetPlugin
    where: str


def accept(asked: AskedEvaluation) -> None:
    """Refuse nothing."""


def hold_none(entry: Entry) -> Iterator[Point]:
    """Yield no point: nothing of the entry is held against the journal here."""
    yield from ()


@dataclass(frozen=True, slots=True)
class Extra:
    """One kind of thing that an evaluation measures.

    key: of ``[[evaluate]]``, by which it is asked for; without one it always is.
    part: the list of results.json that holds its answers; without one it has none.
    measure: returns the answers about a subject; called where the key is set to something.
    check: raises ``UsageError`` for what could not be measured, before anything is trained; called wherever the key is
    not ``None``, of an empty list too.
    points: yields the numbers of an answer that the journal's outcomes must give.
    told: the fields of an answer that belong to the question; two answers that agree in them answer the same one.
    """

    key: str
    part: str
    measure: Callable[[Subject, Measurement], Sequence[Entry]]
    check: Callable[[AskedEvaluation], None] = accept
    points: Callable[[Entry], Iterator[Point]] = hold_none
    told: tuple[str, ...] = ()

    def is_asked(self, table: Evaluate) -> bool:
        """Say whether an evaluation asks for it."""
        return not self.key or bool(getattr(table, self.key))
