"""Tables on a page: what is wider than the page stands in parts, and on a narrow screen a line is a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robustcl.report.grid import Grid, Head, fit, runs

NARROW = (480, 720, 960, 1150)
"""Widths of a screen, in pixels, below which the lines of a table that needs more become lists."""

_ROOM = 1090.0
_BORDER = 50
"""Pixels: the width of a page's text, and what a screen has beside it."""


@dataclass(frozen=True, slots=True)
class TablePart:
    """A part of a table: its grid, the groups of its heads, and the width of screen below which its lines are lists."""

    grid: Grid
    groups: tuple[tuple[str, int], ...]
    narrow: int

    @property
    def head(self) -> Sequence[Head]:
        """The heads of its columns."""
        return self.grid.head


def parts(grid: Grid) -> list[TablePart]:
    """Return a table in parts that a page has room for."""
    found = []
    for one in fit(grid, _ROOM, _measure):
        need = sum(_measure(one, place) for place in range(len(one.head))) + _BORDER
        narrow = next((width for width in NARROW if width >= need), NARROW[-1])
        groups = tuple(runs(one.head)) if any(head.group for head in one.head) else ()
        found.append(TablePart(one, groups, narrow))
    return found


def _measure(grid: Grid, place: int) -> float:
    """Return about how many pixels a column takes: heads and words are broken, and what is behind a number below it."""
    cells = grid.column(place)
    if place < grid.words:
        most = 260.0 if place < grid.keys else 380.0
        return min(max((7.6 * len(cell.text) for cell in cells), default=0.0), most) + 20.0
    own = max((max(7.6 * len(cell.text), 6.9 * len(cell.spread)) for cell in cells), default=0.0)
    words = max((7.2 * len(word) for word in grid.head[place].title.split()), default=0.0)
    group = grid.head[place].group
    members = sum(head.group == group for head in grid.head) if group else 1
    above = max((7.2 * len(word) for word in group.split()), default=0.0) / members
    return max(own, words, above) + 20.0
