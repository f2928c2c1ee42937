"""From the test of a claim to contrasts: which cells of the table are held against which."""

from __future__ import annotations

import itertools

from robustcl.claims import trends
from robustcl.claims.cells import AbsentCellError, Cell, Contrast, Line, Shape, Ways
from robustcl.claims.grammar import Above, Alike, Claim, Gains, Ratio, Trend


def expand(claim: Claim, shape: Shape) -> tuple[Ways, ...] | str:
    """Return the parts of a claim, which holds where all of them do, or a sentence on a cell that is not there."""
    test = claim.test
    try:
        if isinstance(test, Trend):
            return trends.follow(test, shape)
        assert test is not None, "checked before"
        contrasts = _gains(test, shape) if isinstance(test, Gains) else _pairwise(test, shape)
        return tuple(((contrast,),) for contrast in contrasts)
    except AbsentCellError as absent:
        return str(absent)


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
    left = shape.lines_at(rows, test.at)
    right = shape.lines_at(others, test.at if test.than_at is None else test.than_at)
    free = set() if test.than_at is None else {*test.at, *test.than_at}
    mine = shape.single_columns(test.column)
    theirs = mine if test.than_column is None else shape.single_columns([test.than_column])
    theirs = theirs * len(mine) if len(theirs) == 1 else theirs
    if len(theirs) != len(mine):
        raise AbsentCellError(f"{len(mine)} columns cannot be compared with {len(theirs)}")
    pairs = [
        ((one, column), (other, beside))
        for column, beside in zip(mine, theirs, strict=True)
        for one, other in itertools.product(left, right)
        if (not itself or one.row == other.row) and one.is_beside(other, free) and (one, column) != (other, beside)
    ]
    if not pairs:
        raise AbsentCellError("there is nothing to compare it with")
    return pairs


def _gains(test: Gains, shape: Shape) -> list[Contrast]:
    lines = {row: shape.lines_at([row], test.at) for row in (test.row, test.over, test.than, test.than_over)}
    found = []
    for column in shape.single_columns(test.column):
        for one in lines[test.row]:
            over, than, than_over = (
                next(line for line in lines[row] if one.is_beside(line, set()))
                for row in (test.over, test.than, test.than_over)
            )
            signed = ((1.0, one), (-1.0, over), (-1.0, than), (1.0, than_over))
            said = f"{column}: ({one.label} - {over.label}) - ({than.label} - {than_over.label})"
            found.append(Contrast(said, tuple((sign, Cell(line.label, column)) for sign, line in signed), test.by))
    return found
