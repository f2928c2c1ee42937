"""From the test of a claim to contrasts: sums of cells with signs, each of which is claimed to lie above a margin."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from robustcl.claims.grammar import Above, Alike, Claim, Gains, Point, Ratio, Trend


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


@dataclass(frozen=True, slots=True)
class Contrast:
    """``sum of coefficient x cell > margin``, in words and as numbers; the margin in the columns' unit."""

    said: str
    terms: tuple[tuple[float, Cell], ...]
    margin: float = 0.0


Ways = tuple[tuple[Contrast, ...], ...]
"""Alternatives: it holds where all contrasts of one of them do."""


def expand(claim: Claim, shape: Shape) -> tuple[Ways, ...] | str:
    """Return the parts of a claim, which holds where all of them do, or a sentence on a cell that is not there."""
    test = claim.test
    try:
        if isinstance(test, Trend):
            return tuple(_along(test, *path) for path in _paths(test, shape))
        assert test is not None, "checked before"
        contrasts = _gains(test, shape) if isinstance(test, Gains) else _pairwise(test, shape)
        return tuple(((contrast,),) for contrast in contrasts)
    except _AbsentError as absent:
        return str(absent)


def is_swept(name: str, written: str) -> bool:
    """Say whether a name is that of a swept column at some value, one that is not swept over now included."""
    before, _, after = written.partition("{}")
    return name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after)


class _AbsentError(Exception):
    """A cell that this size of the study does not have."""


def _pairwise(test: Above | Alike | Ratio, shape: Shape) -> list[Contrast]:
    found = []
    for (one, column), (other, beside) in _sides(test, shape):
        first, second = Cell(one.label, column), Cell(other.label, beside)
        names = [one.label, other.label] if column == beside else [f"{one.label}, {column}", f"{other.label}, {beside}"]
        where = f"{column}: " if column == beside else ""
        if isinstance(test, Above):
            found.append(Contrast(f"{where}{names[0]} - {names[1]}", ((1.0, first), (-1.0, second)), test.by))
        elif isinstance(test, Alike):
            sides = ((names[0], first), (names[1], second))
            found += [Contrast(f"{where}{a} - {b}", ((1.0, x), (-1.0, y)), -test.within)
                      for (a, x), (b, y) in (sides, sides[::-1])]  # fmt: skip
        elif test.at_least is not None:
            said = f"{where}{names[0]} - {test.at_least:g} x {names[1]}"
            found.append(Contrast(said, ((1.0, first), (-test.at_least, second))))
        else:
            assert test.at_most is not None, "checked before"
            said = f"{where}{test.at_most:g} x {names[1]} - {names[0]}"
            found.append(Contrast(said, ((test.at_most, second), (-1.0, first))))
    return found


_Side = tuple[Line, str]


def _sides(test: Above | Alike | Ratio, shape: Shape) -> list[tuple[_Side, _Side]]:
    """Return the pairs of cells that a test compares."""
    rows = test.row or shape.rows
    itself = test.than is None and (test.than_at is not None or test.than_column is not None)
    others = test.than or [row for row in shape.rows if itself or row not in rows]
    left = _at(shape, rows, test.at)
    right = _at(shape, others, test.at if test.than_at is None else test.than_at)
    free = set() if test.than_at is None else {*test.at, *test.than_at}
    mine = _columns(test.column, shape)
    theirs = mine if test.than_column is None else _columns([test.than_column], shape)
    theirs = theirs * len(mine) if len(theirs) == 1 else theirs
    if len(theirs) != len(mine):
        raise _AbsentError(f"{len(mine)} columns cannot be compared with {len(theirs)}")
    pairs = [
        ((one, column), (other, beside))
        for column, beside in zip(mine, theirs, strict=True)
        for one, other in itertools.product(left, right)
        if (not itself or one.row == other.row) and _same(one, other, free) and (one, column) != (other, beside)
    ]
    if not pairs:
        raise _AbsentError("there is nothing to compare it with")
    return pairs


def _gains(test: Gains, shape: Shape) -> list[Contrast]:
    lines = {row: _at(shape, [row], test.at) for row in (test.row, test.over, test.than, test.than_over)}
    found = []
    for column in _columns(test.column, shape):
        for one in lines[test.row]:
            over, than, than_over = (
                next(line for line in lines[row] if _same(one, line, set()))
                for row in (test.over, test.than, test.than_over)
            )
            signed = ((1.0, one), (-1.0, over), (-1.0, than), (1.0, than_over))
            said = f"{column}: ({one.label} - {over.label}) - ({than.label} - {than_over.label})"
            found.append(Contrast(said, tuple((sign, Cell(line.label, column)) for sign, line in signed), test.by))
    return found


_Terms = list[tuple[float, Cell]]


def _paths(test: Trend, shape: Shape) -> list[tuple[str, list[Any], list[_Terms]]]:
    """Return for each row its name, the values it is followed along, and the cells at each of them."""
    rows = [row for row in test.row or shape.rows if row != test.minus]
    found = []
    for line in _at(shape, rows, test.at):
        if test.axis is None:
            for column in test.column:
                names = shape.swept[column]
                values = _order(test, list(names), column)
                cells = [_less(test, shape, line, names[value]) for value in values]
                found.append((f"{column.replace('{}', '...')}: {line.label}", values, cells))
        else:
            values = _order(test, list(shape.axes[test.axis]), f"the axis {test.axis}")
            if line.point[test.axis] != values[0]:
                continue
            for column in _columns(test.column, shape):
                along = [_moved(shape, line, test.axis, value) for value in values]
                cells = [_less(test, shape, other, column) for other in along]
                found.append((f"{column}: {line.label} to {along[-1].label}", values, cells))
    if not found:
        raise _AbsentError("no row has it")
    return found


def _along(test: Trend, said: str, values: list[Any], cells: list[_Terms]) -> Ways:
    said += f", less {test.minus}" if test.minus is not None else ""
    if test.direction != "peak":
        sign, middle = (1.0 if test.direction == "up" else -1.0), (len(values) - 1) / 2
        scale = (len(values) - 1) / sum((place - middle) ** 2 for place in range(len(values)))
        terms = [(sign * scale * (place - middle) * weight, cell)
                 for place, there in enumerate(cells) for weight, cell in there]  # fmt: skip
        rises = f"{test.direction} over {len(values)} values"
        return ((Contrast(f"{said}, {rises}", tuple(term for term in terms if term[0]), test.by),),)
    inner = range(1, len(values) - 1)
    if test.peak is not None:
        if test.peak not in values:
            raise _AbsentError(f"{test.peak!r} is not among the values {_list(values)}")
        inner = range(values.index(test.peak), values.index(test.peak) + 1)
    if len(values) < 3 or inner[0] in (0, len(values) - 1):
        raise _AbsentError(f"a peak lies between two other values, and there are {_list(values)}")
    return tuple(
        tuple(
            Contrast(f"{said}, {values[place]!r} - {values[end]!r}", (*cells[place], *_minus(cells[end])), test.by)
            for end in (0, -1)
        )
        for place in inner
    )


def _order(test: Trend, there: list[Any], where: str) -> list[Any]:
    """Return the values that a trend is followed along."""
    if test.values is not None:
        lacking = [value for value in test.values if value not in there]
        if lacking:
            raise _AbsentError(f"{lacking[0]!r} is not among the values of {where}: {_list(there)}")
        there = test.values
    elif all(isinstance(value, int | float) and not isinstance(value, bool) for value in there):
        there = sorted(there)
    if len(there) < 2:
        raise _AbsentError(f"{where} has one value alone, {_list(there)}")
    return there


def _less(test: Trend, shape: Shape, line: Line, column: str) -> _Terms:
    terms = [(1.0, Cell(line.label, column))]
    if test.minus is not None:
        other = next(other for other in shape.lines if other.row == test.minus and _same(line, other, set()))
        terms.append((-1.0, Cell(other.label, column)))
    return terms


def _minus(terms: _Terms) -> _Terms:
    return [(-weight, cell) for weight, cell in terms]


def _moved(shape: Shape, line: Line, axis: str, value: Any) -> Line:
    return next(other for other in shape.lines if other.row == line.row and other.point[axis] == value
                and _same(line, other, {axis}))  # fmt: skip


def _at(shape: Shape, rows: Sequence[str], point: Point) -> list[Line]:
    """Return the lines of rows at the given values of some axes, all of which have to be there."""
    wanted = {axis: value if isinstance(value, list) else [value] for axis, value in point.items()}
    for axis, values in wanted.items():
        there = shape.axes[axis]
        if lacking := [value for value in values if value not in there]:
            raise _AbsentError(f"{axis} = {lacking[0]!r} is not among its values here: {_list(there)}")
    return [line for line in shape.lines
            if line.row in rows and all(line.point[axis] in values for axis, values in wanted.items())]  # fmt: skip


def _columns(names: Sequence[str], shape: Shape) -> list[str]:
    """Return single columns; a swept one gives all of its own."""
    found: list[str] = []
    for name in names:
        found += shape.swept[name].values() if name in shape.swept else [name]
    if lacking := [name for name in found if name not in shape.columns]:
        raise _AbsentError(f"there is no column {lacking[0]!r} here: {_list(shape.columns)}")
    return found


def _same(one: Line, other: Line, free: set[str]) -> bool:
    return all(value == other.point[axis] for axis, value in one.point.items() if axis not in free)


def _once(values: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def _list(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values)) or "none"
