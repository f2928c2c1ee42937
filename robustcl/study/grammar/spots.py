"""The lines of a study's table, and what they are called, before anything of them is composed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from robustcl.analysis.other_data import slug
from robustcl.claims.cells import Line, Shape
from robustcl.recipe import Use
from robustcl.study.grammar.columns import swept
from robustcl.study.grammar.study import Row, Study


@dataclass(frozen=True, slots=True)
class Spot:
    """One line of the table: a row at one point of the axes, and the other data set that it is about, if any.

    title: the label without that data set, the name of a run that does not look at it.
    """

    label: str
    title: str
    row: Row
    point: Mapping[str, Any]
    other: Use | None


def points(study: Study) -> Iterator[Spot]:
    """Go through the lines of the table: each row at each point of the axes, for each of the other data sets."""
    others: list[Use | None] = [*study.other] or [None]
    for other, row in itertools.product(others, study.row):
        for values in itertools.product(*(axis.values for axis in study.axis)):
            point = {axis.name: value for axis, value in zip(study.axis, values, strict=True)}
            where = ", ".join(f"{axis} = {value}" for axis, value in point.items())
            title = where if where and len(study.row) == 1 else ", ".join(filter(None, (row.name, where)))
            if other is None:
                yield Spot(title, title, row, point, None)
                continue
            label = f"{title}, on {show_dataset(other)}" if len(study.other) > 1 else title
            yield Spot(label, title, row, {**point, "on": show_dataset(other)}, other)


def show_dataset(other: Use) -> str:
    """Return a data set in words: a file or folder by its name, options as they stand."""
    options = ", ".join(f"{key} = {value}" for key, value in other.options.items() if key != "path")
    name = slug(other.use)
    return f"{name} ({options})" if options else name


def shape(study: Study) -> Shape:
    """Return the lines and columns of the table, for the claims."""
    sweeps = {column.name: {value: swept(column.name, value) for value in column.sweep.values}
              for column in study.column if column.sweep is not None}  # fmt: skip
    names = tuple(column.name for column in study.columns_of(study.row[0]))
    return Shape(tuple(Line(spot.label, spot.row.name, spot.point) for spot in points(study)), names, sweeps)
