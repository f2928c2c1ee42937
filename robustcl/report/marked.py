"""Tables in Markdown: aligned for a terminal, valid in a README."""

from __future__ import annotations

import re

from robustcl.report.grid import Grid, Text, fit
from robustcl.terminal.markdown import render_table

_ROOM = 160.0
"""Letters: what a wide terminal shows of a line."""


def markdown(grid: Grid) -> str:
    """Return a table with its title; heads hold their groups."""
    return f"**{_cell(Text(grid.title))}**\n\n{table(grid)}"


def table(grid: Grid) -> str:
    """Return a table alone; one that is too wide is turned or cut."""
    parts = fit(grid, _ROOM, lambda one, place: max(len(cell) for cell in _column(one, place)) + 3.0)
    return "\n\n".join(_one(part) for part in parts)


def one_line(text: str) -> str:
    """Return text without line ends, which would end a cell or a list's entry."""
    return re.sub(r"\s+", " ", text)


def _one(grid: Grid) -> str:
    columns = [_column(grid, place) for place in range(len(grid.head))]
    return render_table(list(zip(*columns, strict=True)), grid.words)


def _column(grid: Grid, place: int) -> list[str]:
    return [_cell(Text(grid.head[place].whole)), *map(_cell, grid.column(place))]


def _cell(cell: Text) -> str:
    text = re.sub(r"([\\|*`]|<(?=\S))", r"\\\1", one_line(cell.whole))
    return f"**{text}**" if cell.bold else text
