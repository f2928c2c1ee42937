"""From a study's TOML tables to a checked study: faults are sentences, and every name stands for something."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from robustcl.errors import UsageError, near
from robustcl.reading import sentence
from robustcl.study.grammar import COLUMN, Bars, Lines, Study, merged


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
            changed = merged(column, row)
            try:
                COLUMN.validate_python(changed)
            except ValidationError as error:
                place = f"{where}: row.{row.name}.column.{column.name}"
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
    columns, axes = [column.name for column in study.column], [axis.name for axis in study.axis]
    read = [(f"row.{row.name}.column", name) for row in study.row for name in row.column]
    read += [(f"row.{row.name}.paper.{d}", name) for row in study.row for d, p in row.paper.items() for name in p]
    read += [(f"axis.{axis.name}.paper.{value}.{data}", name) for axis in study.axis
             for value, papers in axis.paper.items() for data, paper in papers.items() for name in paper]  # fmt: skip
    read += [(f"figure.{figure.kind}.columns", name) for figure in study.figure
             if isinstance(figure, Bars | Lines) for name in figure.columns]  # fmt: skip
    for place, name in read:
        if name not in columns:
            known = near(name, columns) or f"; there is {', '.join(columns) or 'none'}"
            raise UsageError(f"{where}: {place}: there is no column {name!r}{known}")
    for figure in study.figure:
        if isinstance(figure, Lines) and figure.axis not in axes:
            raise UsageError(f"{where}: figure.lines.axis: there is no axis {figure.axis!r}{near(figure.axis, axes)}")
    for row in study.row:
        if study.axis and row.paper:
            raise UsageError(f"{where}: row.{row.name}.paper: with an axis, write what the paper reports as axis.paper")
