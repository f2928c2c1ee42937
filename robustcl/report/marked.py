"""Tables in Markdown: aligned for a terminal, valid in a README."""

from __future__ import annotations

import re

from robustcl.report.grid import Grid, Text, fit
from robustcl.terminal.markdown import render_table

_ROOM = 160.0
"""Letters of a line in a file: what a wide terminal shows."""


def markdown(grid: Grid, room: int | None = None) -> str:
    """Return a table with its title; heads hold their groups. ``room`` as for ``table``."""
    return f"**{_cell(Text(grid.title))}**\n\n{table(grid, room)}"


def table(grid: Grid, room: int | None = None) -> str:
    """Return a table alone; one that is too wide is turned or cut.

    ``room``: letters of a line of the terminal; a table of which not even one column finds room there is a list.
    """
    parts = fit(grid, _ROOM if room is None else room - 1, _width)
    if room is not None and any(_width_of(part) >= room for part in parts):
        return _list(grid)
    return "\n\n".join(_one(part) for part in parts)


def one_line(text: str) -> str:
    """Return text without line ends, which would end a cell or a list's entry."""
    return re.sub(r"\s+", " ", text)


def _width(grid: Grid, place: int) -> float:
    return max(len(cell) for cell in _column(grid, place)) + 3.0


def _width_of(grid: Grid) -> float:
    return sum(max(_width(grid, place), 6.0) for place in range(len(grid.head)))


def _list(grid: Grid) -> str:
    """Return a table's lines as entries of a list, and below each its cells that are not empty."""
    heads, lines = [_cell(Text(one.whole)) for one in grid.head], []
    for row in grid.rows:
        about, *cells = map(_cell, row)
        lines.append(f"- {about}")
        lines += [f"  - {head}: {cell}" for head, cell in zip(heads[1:], cells, strict=True) if cell]
    return "\n".join(lines)


def _one(grid: Grid) -> str:
    columns = [_column(grid, place) for place in range(len(grid.head))]
    return render_table(list(zip(*columns, strict=True)), grid.words)


def _column(grid: Grid, place: int) -> list[str]:
    return [_cell(Text(grid.head[place].whole)), *map(_cell, grid.column(place))]


def _cell(cell: Text) -> str:
    text = re.sub(r"([\\|*`]|<(?=\S))", r"\\\1", one_line(cell.whole))
    return f"**{text}**" if cell.bold else text
