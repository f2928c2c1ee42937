"""From a study's TOML tables to a checked study: faults are sentences, and every name stands for something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from robustcl.claims import checking
from robustcl.claims.cells import is_swept
from robustcl.errors import UsageError, near
from robustcl.recipe.reading import sentence
from robustcl.study.grammar import tuning
from robustcl.study.grammar.columns import COLUMN, Accuracy, AnyColumn, Derived, Transferred, spread
from robustcl.study.grammar.figures import Bars, Lines, Scatter, Sweeps
from robustcl.study.grammar.spots import shape
from robustcl.study.grammar.study import Study, merge


def parse(tables: dict[str, Any], where: str) -> Study:
    """Check a study's tables.

    Raises:
        UsageError: an unknown key, a missing one, a value of the wrong type, or a name that stands for nothing.
    """
    columns = [{"use": "accuracy", **c} if isinstance(c, dict) else c for c in _list(tables.get("column", []))]
    plain = {**tables, "column": columns}
    try:
        study = Study.model_validate(plain)
    except ValidationError as error:
        raise UsageError(sentence(error, where, plain, Study)) from None
    for row in study.row:
        for column in study.column:
            changed = merge(column, row)
            place = f"{where}: row.{row.name}.column.{column.name}"
            try:
                COLUMN.validate_python(changed)
                for plain in spread(changed):
                    changed = plain
                    COLUMN.validate_python(plain)
            except ValidationError as error:
                raise UsageError(sentence(error, place, changed, type(column))) from None
    _check_names(study, where)
    return study


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _check_names(study: Study, where: str) -> None:
    for noun in ("row", "axis", "column"):
        names = [entry.name for entry in getattr(study, noun)]
        if twins := {name for name in names if names.count(name) > 1}:
            raise UsageError(f"{where}: two {noun} tables are named {min(twins)!r}; rename one")
    if not study.column and not study.figure:
        raise UsageError(f"{where}: nothing is measured; add a [[column]] or a [[figure]]")
    for column in study.column:
        if ("{}" in column.name) != (column.sweep is not None):
            raise UsageError(
                f"{where}: column.{column.name}: a column with a sweep, and no other, has {{}} in its name"
            )
    _check_references(study, where)
    check_other(study, where)
    _check_terms(study, where)
    for row in study.row:
        if study.axis and row.paper:
            raise UsageError(f"{where}: row.{row.name}.paper: with an axis, write what the paper reports as axis.paper")
        names = [column.name for column in study.columns_of(row)]
        if names != [column.name for column in study.columns_of(study.row[0])] or len(set(names)) < len(names):
            raise UsageError(f"{where}: row.{row.name}: its columns are not those of the first row, each once")
    checking.check(study.claim, shape(study), where)


def _check_terms(study: Study, where: str) -> None:
    if study.amount is not None and study.equal is None:
        raise UsageError(f'{where}: amount = {study.amount:g} of what? say it, e.g. equal = "steps"')
    for row in study.row:
        given = [key for key in ("generator", "selector", "target") if getattr(row, key) is not None]
        if given and not row.is_trained:
            raise UsageError(f"{where}: row.{row.name}: {given[0]} needs a recipe to put it into; add recipe = NAME")
    tuning.check(study, where)


def check_other(study: Study, where: str) -> None:
    """Refuse a row or column on another data set where none is named, one that none is on, and one named twice."""
    on = [f"row.{row.name}" for row in study.row if row.on == "other"]
    on += [f"column.{column.name}" for row in study.row for column in study.columns_of(row) if _elsewhere(column)]
    if on and not study.other:
        raise UsageError(f'{where}: {on[0]} is on another data set, and none is named; write other = ["NAME"]')
    if study.other and not on:
        raise UsageError(
            f'{where}: no row and no column is on the other data set {study.other[0].use}; give one on = "other", or '
            "leave it out"
        )
    twins = [table.use for number, table in enumerate(study.other) if table in study.other[:number]]
    if twins:
        raise UsageError(f"{where}: the other data set {twins[0]} is named twice; name it once")


def _elsewhere(column: AnyColumn) -> bool:
    return isinstance(column, Accuracy) and column.on == "other"


def _check_references(study: Study, where: str) -> None:
    """Refuse names of columns, axes and rows that stand for nothing."""
    written, axes = [column.name for column in study.column], [axis.name for axis in study.axis]
    single = [column.name for column in study.columns_of(study.row[0])]
    sweeps = [column.name for column in study.column if column.sweep is not None]
    read = [(f"row.{row.name}.column", name, written) for row in study.row for name in row.column]
    read += [(f"row.{row.name}.paper.{d}", name, single) for row in study.row for d, p in row.paper.items()
             for name in p if not any(is_swept(name, swept) for swept in sweeps)]  # fmt: skip
    read += [(f"axis.{axis.name}.paper.{value}.{data}", name, single) for axis in study.axis
             for value, papers in axis.paper.items() for data, paper in papers.items() for name in paper]  # fmt: skip
    for figure in study.figure:
        place = f"figure.{figure.kind}"
        if isinstance(figure, Bars | Lines):
            read += [(f"{place}.columns", name, single) for name in figure.columns]
        elif isinstance(figure, Sweeps):
            read += [(f"{place}.columns", name, sweeps) for name in figure.columns]
        elif isinstance(figure, Scatter):
            read += [(f"{place}.{key}", name, written) for key, name in (("x", figure.x), ("y", figure.y))]
            values = [column.sweep and column.sweep.values for column in study.column
                      if column.name in (figure.x, figure.y)]  # fmt: skip
            if len(values) == 2 and values[0] != values[1]:
                raise UsageError(f"{where}: {place}: {figure.x!r} and {figure.y!r} are not swept over the same values")
    for place, name, known in read:
        if name not in known:
            others = near(name, known) or f"; there is {', '.join(known) or 'none'}"
            raise UsageError(f"{where}: {place}: there is no column {name!r}{others}")
    for figure in study.figure:
        if isinstance(figure, Lines) and figure.axis not in axes:
            raise UsageError(f"{where}: figure.lines.axis: there is no axis {figure.axis!r}{near(figure.axis, axes)}")
    rows = [row.name for row in study.row]
    for row in study.row:
        for number, column in enumerate(study.columns_of(row)):
            if isinstance(column, Transferred) and column.source not in rows:
                source = f"column.{column.name}.source"
                raise UsageError(f"{where}: {source}: there is no row {column.source!r}{near(column.source, rows)}")
            if isinstance(column, Derived):
                _check_derived(column, single[:number], rows, where)


_MADE_OF = {"relative-drop": ("of", "against"), "gain": ("of", "over"), "gap-closed": ("of", "over", "toward")}
"""What each derived number is made of: columns (of, against) and rows (over, toward)."""


def _check_derived(column: Derived, before: Sequence[str], rows: Sequence[str], where: str) -> None:
    place = f"{where}: column.{column.name}"
    keys = _MADE_OF[column.value]
    for key in ("of", "against", "over", "toward"):
        name, noun = getattr(column, key), "column" if key in ("of", "against") else "row"
        if (name is not None) != (key in keys):
            what = f"name a {noun}" if name is None else "leave it out"
            said = f"{', '.join(keys[:-1])} and {keys[-1]}"
            raise UsageError(f"{place}.{key}: value = {column.value!r} has {said}; {what}")
        known = before if noun == "column" else rows
        if name is not None and name not in known:
            above = " above it" if noun == "column" else ""
            others = near(name, known) or f"; there is {', '.join(known) or 'none'}"
            raise UsageError(f"{place}.{key}: there is no {noun} {name!r}{above}{others}")
    if column.over is not None and column.over == column.toward:
        raise UsageError(f"{place}: over and toward are both {column.over!r}; name two rows")
