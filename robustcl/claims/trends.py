"""From a claimed trend to contrasts: along an axis, or along the values that a column is swept over."""

from __future__ import annotations

from typing import Any

from robustcl.claims.cells import AbsentCellError, Cell, Contrast, Line, Shape, Ways, enumerate_all
from robustcl.claims.grammar import Trend


def follow(test: Trend, shape: Shape) -> tuple[Ways, ...]:
    """Return what a trend comes to, for each of its rows and columns.

    Raises:
        AbsentCellError: a value that it runs along is not there.
    """
    return tuple(_along(test, *path) for path in _paths(test, shape))


_Terms = list[tuple[float, Cell]]


def _paths(test: Trend, shape: Shape) -> list[tuple[str, list[Any], list[_Terms]]]:
    """Return for each row its name, the values it is followed along, and the cells at each of them."""
    rows = [row for row in test.row or shape.rows if row != test.minus]
    found = []
    for line in shape.lines_at(rows, test.at):
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
            for column in shape.single_columns(test.column):
                along = [_moved(shape, line, test.axis, value) for value in values]
                cells = [_less(test, shape, other, column) for other in along]
                found.append((f"{column}: {line.label} to {along[-1].label}", values, cells))
    if not found:
        raise AbsentCellError("no row has it")
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
            raise AbsentCellError(f"{test.peak!r} is not among the values {enumerate_all(values)}")
        inner = range(values.index(test.peak), values.index(test.peak) + 1)
    if len(values) < 3 or inner[0] in (0, len(values) - 1):
        raise AbsentCellError(f"a peak lies between two other values, and there are {enumerate_all(values)}")
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
            raise AbsentCellError(f"{lacking[0]!r} is not among the values of {where}: {enumerate_all(there)}")
        there = test.values
    elif any(map(_is_number, there)):
        if not all(map(_is_number, there)):
            raise AbsentCellError(f"{where} has numbers and names, {enumerate_all(there)}; choose some by values")
        there = sorted(there)
    if len(there) < 2:
        raise AbsentCellError(f"{where} has one value alone, {enumerate_all(there)}")
    return there


def _less(test: Trend, shape: Shape, line: Line, column: str) -> _Terms:
    terms = [(1.0, Cell(line.label, column))]
    if test.minus is not None:
        other = next(other for other in shape.lines if other.row == test.minus and line.is_beside(other, set()))
        terms.append((-1.0, Cell(other.label, column)))
    return terms


def _minus(terms: _Terms) -> _Terms:
    return [(-weight, cell) for weight, cell in terms]


def _moved(shape: Shape, line: Line, axis: str, value: Any) -> Line:
    return next(other for other in shape.lines if other.row == line.row and other.point[axis] == value
                and line.is_beside(other, {axis}))  # fmt: skip


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
