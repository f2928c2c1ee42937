"""What each column of a study asks: attack, radius, protocol, route, split and number of images, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from robustcl.recipe import Use
from robustcl.study.grammar.columns import (
    COLUMN,
    Accuracy,
    AnyColumn,
    Clusters,
    Corrupted,
    Derived,
    Metric,
    Moved,
    Representation,
    Transferred,
    spread,
)
from robustcl.study.grammar.study import Study, merge
from robustcl.study.plan.places import JUDGED, evaluation
from robustcl.study.plan.planned import Planned
from robustcl.study.tables.table import StudyLine


def questions(study: Study, planned: Sequence[Planned], lines: Sequence[StudyLine]) -> list[str]:
    """Return a sentence for each column, one for all values of a swept one; what differs stands with "or"."""
    said = []
    for column in study.column:
        asked = [(made, run) for run in planned for made in map(COLUMN.validate_python, spread(merge(column, run.row)))
                 if made.name not in run.lacks]  # fmt: skip
        words = [found for made, run in asked if (found := tuple(_words(made, run)))]
        if not words:
            continue
        parts = [" or ".join(filter(None, dict.fromkeys(part))) for part in zip(*words, strict=True)]
        names = {made.name for made, _ in asked}
        cells = [cell for line in lines for cell in line.cells if cell.column in names]
        n = " or ".join(str(n) for n in dict.fromkeys(cell.n for cell in cells if cell.n is not None))
        told = [*filter(None, parts), *_own_routes(asked), *([f"n = {n}"] if n else [])]
        said.append(f"{_title(column.name)}: {', '.join(told)}")
    return said


def _own_routes(asked: Sequence[tuple[AnyColumn, Planned]]) -> list[str]:
    """Return on which route each row was judged, where a column reads the one that a recipe calls its own."""
    rows: dict[str, list[str]] = {}
    for column, run in asked:
        if getattr(column, "route", None) == JUDGED:
            route = evaluation(run.composition, getattr(column, "protocol", None), JUDGED, "")[1]
            names = rows.setdefault(route, [])
            names += [] if run.row.name in names else [run.row.name]
    if len(rows) < 2:
        return [f"route {route}, the judged one" for route in rows]
    said = " and ".join(f"{route} of {', '.join(names)}" for route, names in rows.items())
    return [f"the judged route of each row, {said}"]


def _words(column: AnyColumn, run: Planned) -> Iterator[str]:
    """Yield what a column asks of a run; the columns of a use yield equally many, "" for what goes without saying."""
    if isinstance(column, Metric):
        yield from (f"{column.metric} of metrics.jsonl", f"stage {column.stage}" if column.stage else "", column.over)
        return
    if isinstance(column, Clusters):
        return
    if isinstance(column, Derived):
        yield from _derived(column)
        return
    plan, route = evaluation(run.composition, column.protocol, column.route, "")
    if isinstance(column, Accuracy):
        attack = plan.attacks[0].name if column.attack == "first" else column.attack
        yield attack or "clean images"
    elif isinstance(column, Corrupted):
        yield "all corruptions" if column.corruption == "mean" else column.corruption
        theirs = column.baseline if isinstance(column.baseline, str) else "the given baseline"
        yield {"accuracy": "", "relative-drop": "relative drop", "corruption-error": f"errors in those of {theirs}"}[
            column.value
        ]
    elif isinstance(column, Transferred):
        yield from (f"{_attack(column.attack)} against {column.source}", _radius(column.times))
    else:
        yield from _moved(column)
    yield from (f"protocol {plan.table.use}", "" if column.route == JUDGED else f"route {route}")
    if isinstance(column, Accuracy):
        yield f"{column.split} split"


def _moved(column: Any) -> Iterator[str]:
    assert isinstance(column, Moved)
    still = isinstance(column, Representation) and column.attack.use == "none"
    yield str(getattr(column, "value", "")).replace("-", " ")
    yield "clean images" if still else _attack(column.attack)
    ball = column.threat
    yield f"{ball.norm} {ball.eps}" if ball is not None and not still else ""
    yield "" if still else _radius(column.times)


def _derived(column: Derived) -> Iterator[str]:
    if column.value == "relative-drop":
        yield f"the share of {column.against} that is lost in {column.of}"
    elif column.value == "gain":
        yield f"{column.of} less that of {column.over}"
    else:
        yield f"the share of the way in {column.of} from {column.over} to {column.toward}"


def _attack(table: Use) -> str:
    given = ", ".join(f"{name} {value}" for name, value in table.options.items())
    return f"{table.use} ({given})" if given else table.use


def _radius(times: float) -> str:
    return f"{times:g} eps"


def _title(name: str) -> str:
    """Return a column's name with a mark where the values of a swept one stand."""
    return name.replace("{}", "...")
