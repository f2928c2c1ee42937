"""Cells of a study's table, and contrasts: sums of cells with signs, each of which is claimed to exceed a margin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from robustcl.claims.grammar import Point


class Cell(NamedTuple):
    """A number of a study's table: the label of its line, and its column."""

    line: str
    column: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table: a row at a point of the axes."""

    label: str
    row: str
    point: Mapping[str, Any]

    def is_beside(self, other: Line, free: set[str]) -> bool:
        """Say whether both lie at the same point of all axes but some."""
        return all(value == other.point[axis] for axis, value in self.point.items() if axis not in free)


@dataclass(frozen=True, slots=True)
class Shape:
    """What a study's table has. swept: the name of a swept column, with ``{}`` -> value -> the column of that value."""

    lines: tuple[Line, ...]
    columns: tuple[str, ...]
    swept: Mapping[str, Mapping[Any, str]]

    @property
    def rows(self) -> list[str]:
        """The rows, each once."""
        return list(dict.fromkeys(line.row for line in self.lines))

    @property
    def axes(self) -> dict[str, list[Any]]:
        """Axis -> its values, each once."""
        names = dict.fromkeys(name for line in self.lines for name in line.point)
        return {name: _once(line.point[name] for line in self.lines) for name in names}

    def lines_at(self, rows: Sequence[str], point: Point) -> list[Line]:
        """Return the lines of rows at the given values of some axes.

        Raises:
            AbsentCellError: one of the values is not there.
        """
        wanted = {axis: value if isinstance(value, list) else [value] for axis, value in point.items()}
        for axis, values in wanted.items():
            there = self.axes[axis]
            if lacking := [value for value in values if value not in there]:
                raise AbsentCellError(f"{axis} = {lacking[0]!r} is not among its values here: {enumerate_all(there)}")
        return [line for line in self.lines
                if line.row in rows and all(line.point[axis] in values for axis, values in wanted.items())]  # fmt: skip

    def single_columns(self, names: Sequence[str]) -> list[str]:
        """Return single columns; a swept one gives all of its own.

        Raises:
            AbsentCellError: one of them is not there.
        """
        found: list[str] = []
        for name in names:
            found += self.swept[name].values() if name in self.swept else [name]
        if lacking := [name for name in found if name not in self.columns]:
            raise AbsentCellError(f"there is no column {lacking[0]!r} here: {enumerate_all(self.columns)}")
        return found


@dataclass(frozen=True, slots=True)
class Contrast:
    """``sum of coefficient x cell > margin``, in words and as numbers; the margin in the columns' unit."""

    said: str
    terms: tuple[tuple[float, Cell], ...]
    margin: float = 0.0


Ways = tuple[tuple[Contrast, ...], ...]
"""Alternatives: it holds where all contrasts of one of them do."""


class AbsentCellError(Exception):
    """A cell that this size of the study does not have."""


def is_swept(name: str, written: str) -> bool:
    """Say whether a name is that of a swept column at some value, one that is not swept over now included."""
    before, _, after = written.partition("{}")
    return name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after)


def enumerate_all(values: Iterable[Any]) -> str:
    """Return values in a row, "none" for none."""
    return ", ".join(map(str, values)) or "none"


def _once(values: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found
