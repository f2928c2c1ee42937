"""A table as texts, before anybody writes it: heads in groups, what is bold, and what is too wide turned or cut."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

MISSING = "–"
"""What a cell without a number shows; never 0."""

Measure = Callable[["Grid", int], float]
"""How wide a column of a grid is, in the unit of the room that it must find."""


@dataclass(frozen=True, slots=True)
class Text:
    """What stands in a cell: words, or a number and behind it how sure it is.

    value: the number whole, for tools. muted: whether it is somebody else's, such as a paper's.
    """

    text: str
    bold: bool = False
    spread: str = ""
    value: float | None = None
    muted: bool = False

    @property
    def whole(self) -> str:
        """The number with what stands behind it."""
        return f"{self.text} {self.spread}" if self.spread else self.text


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a column; neighbours of one ``group`` have that above them, once for all."""

    title: str
    group: str = ""

    @property
    def whole(self) -> str:
        """Group and title in one."""
        return ", ".join(part for part in (self.group, self.title) if part)


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of texts; the first ``words`` columns are words and stand left, the others numbers and stand right.

    keys: the first columns, which say what a line is about and stand before each part where the table is cut. name: a
    word for references and ids. notes: sentences below it. heading: what stands above it on a page.
    """

    title: str
    head: tuple[Head, ...]
    rows: tuple[tuple[Text, ...], ...]
    words: int = 1
    keys: int = 1
    name: str = ""
    notes: tuple[str, ...] = ()
    heading: str = "Table"

    def column(self, place: int) -> list[Text]:
        """Return the cells of a column."""
        return [row[place] for row in self.rows]


def plain(
    title: str,
    head: Sequence[str],
    rows: Sequence[Sequence[Text]],
    words: int = 1,
    keys: int = 1,
    notes: Sequence[str] = (),
) -> Grid:
    """Return a grid whose heads have no groups."""
    return Grid(title, tuple(map(Head, head)), tuple(map(tuple, rows)), words, keys, notes=tuple(notes))


def runs(head: Sequence[Head]) -> Iterator[tuple[str, int]]:
    """Go through the groups of neighbouring heads: the group, "" for none, and how many columns it spans."""
    for group, members in itertools.groupby(head, key=lambda one: one.group):
        yield group, len(list(members))


def turn(grid: Grid) -> Grid:
    """Return a table with its lines as columns; it has one column of words."""
    head = (grid.head[0], *(Head(row[0].text) for row in grid.rows))
    rows = tuple((Text(one.whole), *grid.column(place)) for place, one in enumerate(grid.head) if place)
    return dataclasses.replace(grid, head=head, rows=rows)


def fit(grid: Grid, room: float, measure: Measure) -> list[Grid]:
    """Return a table in parts that find room, each with its keys: whole, else turned, else cut as seldom as can be.

    A group of heads is cut only where it is too wide by itself; so is nothing that is a single column.
    """
    whole = [grid] if grid.words > 1 else [grid, turn(grid)]
    for one in whole:
        if sum(measure(one, place) for place in range(len(one.head))) <= room:
            return [one]
    cuts = [_cut(one, room, measure) for one in whole]
    return min(cuts, key=lambda parts: sum(len(part.rows) + 2 for part in parts))


def _cut(grid: Grid, room: float, measure: Measure) -> list[Grid]:
    """Return as few parts as find room, about equally wide."""
    widths = [measure(grid, place) for place in range(len(grid.head))]
    left = room - sum(widths[: grid.keys])
    fewest = _fill(grid, widths, left)
    for share in range(50, 100, 5):
        parts = _fill(grid, widths, left * share / 100)
        if len(parts) == len(fewest):
            fewest = parts
            break
    return [_part(grid, [*range(grid.keys), *part]) for part in fewest]


def _fill(grid: Grid, widths: Sequence[float], left: float) -> list[list[int]]:
    """Return the places of each part: as many columns as ``left`` has room for, groups whole where they can be."""
    parts: list[list[int]] = [[]]
    taken = 0.0
    places = range(grid.keys, len(grid.head))
    for _, members in itertools.groupby(places, key=lambda place: grid.head[place].group or place):
        block = list(members)
        whole = sum(widths[place] for place in block) <= left
        for piece in [block] if whole else [[place] for place in block]:
            wide = sum(widths[place] for place in piece)
            if parts[-1] and taken + wide > left:
                parts.append([])
                taken = 0.0
            parts[-1] += piece
            taken += wide
    return parts


def _part(grid: Grid, places: Sequence[int]) -> Grid:
    rows = tuple(tuple(row[place] for place in places) for row in grid.rows)
    words = sum(place < grid.words for place in places)
    return dataclasses.replace(grid, head=tuple(grid.head[place] for place in places), rows=rows, words=words)
