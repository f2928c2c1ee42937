"""The best number of each column, and those that cannot be told from it: a table for a paper has them in bold."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from robustcl.comparison.pairing import align
from robustcl.comparison.statistics import ALPHA, holm, mcnemar, paired_t
from robustcl.study.grammar.columns import Accuracy, AnyColumn, Corrupted, Derived, Perturbed, Transferred
from robustcl.study.grammar.study import Study
from robustcl.study.tables.table import StudyCell, StudyLine

How = Literal["seeds", "images", "intervals", "nothing"]
"""By what a number is held against the best: a test over seeds, one over images, whether intervals meet."""

_SAID = {
    "seeds": "Student's paired test over the seeds",
    "images": "McNemar's exact test on the same images",
    "intervals": "whether the 95 % intervals meet",
}


@dataclass(frozen=True, slots=True)
class Ranked:
    """The lines with their best numbers marked, and a sentence on how; "" where nothing is ranked."""

    lines: tuple[StudyLine, ...]
    said: str


def rank(study: Study, lines: Sequence[StudyLine]) -> Ranked:
    """Mark in each column the best number, and what does not differ from it significantly.

    Lines are ranked among those of the same images and threat, where there are two or more. Where two share several
    seeds, they are compared by Student's paired test; with one, by McNemar's exact test on the images that a journal
    knows; p-values of a column are corrected by Holm's method. Where neither is to be had, a number whose 95 % interval
    meets that of the best counts as not different, and one without an interval is not marked.
    """
    rows = {row.name: study.columns_of(row) for row in study.row}
    cells = [list(line.cells) for line in lines]
    used: dict[How, None] = {}
    for place in range(len(lines[0].cells) if lines else 0):
        for members in _groups(lines, rows, place):
            sense = direction(study, rows[lines[members[0]].row][place])
            if sense and len(members) > 1:
                marked, how = _ties([cells[member][place] for member in members], sense)
                used |= how
                for number in marked:
                    cells[members[number]][place] = dataclasses.replace(cells[members[number]][place], best=True)
    found = tuple(dataclasses.replace(line, cells=tuple(own)) for line, own in zip(lines, cells, strict=True))
    return Ranked(found, _said(used))


def direction(study: Study, column: AnyColumn) -> int:
    """Return 1 where the highest number of a column is the best, -1 where the lowest is, 0 where none is."""
    if column.best is not None:
        return {"highest": 1, "lowest": -1, "none": 0}[column.best]
    if isinstance(column, Derived):
        if column.value != "gain":
            return 1 if column.value == "gap-closed" else -1
        return next((direction(study, other) for other in study.columns_of(study.row[0]) if other.name == column.of), 0)
    if isinstance(column, Perturbed):
        return 1 if column.value == "accuracy" else -1
    if isinstance(column, Corrupted):
        return 1 if column.value == "accuracy" else -1
    return int(isinstance(column, Accuracy | Transferred))


def _groups(lines: Sequence[StudyLine], rows: Mapping[str, Sequence[AnyColumn]], place: int) -> list[list[int]]:
    """Return the lines that may be ranked among each other: of the same images, as many, under the same threat."""
    found: dict[Hashable, list[int]] = {}
    for number, line in enumerate(lines):
        cell = line.cells[place]
        if cell.mean is not None and line.row in rows:
            column = rows[line.row][place]
            alike = line.alike[isinstance(column, Accuracy) and column.on == "other"]
            found.setdefault((alike, frozenset(one.n for one in cell.readings.values())), []).append(number)
    return list(found.values())


def _ties(cells: Sequence[StudyCell], sense: int) -> tuple[set[int], dict[How, None]]:
    """Return the place of the best and of what cannot be told from it, and how that was asked; none of equal ones."""
    if len({cell.mean for cell in cells}) == 1:
        return set(), {}
    best = max(range(len(cells)), key=lambda place: sense * (cells[place].mean or 0.0))
    asked: dict[int, float] = {}
    marked, used = {best}, dict[How, None]()
    for place, cell in enumerate(cells):
        if place == best:
            continue
        how, p = _compared(cells[best], cell)
        used[how] = None
        if how in ("seeds", "images"):
            asked[place] = p
        elif p >= ALPHA:
            marked.add(place)
    corrected = holm(list(asked.values()))
    return marked | {place for place, p in zip(asked, corrected, strict=True) if p >= ALPHA}, used


def _compared(best: StudyCell, cell: StudyCell) -> tuple[How, float]:
    """Return by what a number was held against the best, and the p-value; 1 or 0 where there is no test."""
    if best.mean == cell.mean:
        return "nothing", 1.0
    shared = [(best.readings[seed], cell.readings[seed]) for seed in best.readings if seed in cell.readings]
    if len(shared) > 1:
        test = paired_t([one.value - other.value for one, other in shared])
        return "seeds", min(1.0, 2 * min(test.up, test.down))
    if len(shared) == 1 == len(best.readings) == len(cell.readings):
        right = align([reading.verdicts or "" for reading in shared[0]])
        if not isinstance(right, str):
            return "images", mcnemar(*right).p
    (low, high), (other_low, other_high) = ((one.low, one.high) for one in (best, cell))
    if low is None or high is None or other_low is None or other_high is None:
        return "nothing", 0.0
    return "intervals", float(low <= other_high and other_low <= high)


def _said(used: dict[How, None]) -> str:
    if not used:
        return ""
    tests = [text for how, text in _SAID.items() if how in used]
    if not tests:
        return "Bold: the best of each measure."
    corrected = ", p-values of a measure corrected by Holm's method" if used.keys() & {"seeds", "images"} else ""
    return (
        f"Bold: the best of each measure, and what does not differ from it significantly at {ALPHA:g} "
        f"({' or '.join(tests)}{corrected})."
    )
