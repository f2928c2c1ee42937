"""Columns that are made of other numbers of the study: relative drop, gain over a row, gap closed toward a row."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from robustcl.comparison.pairing import share_images
from robustcl.comparison.statistics import resample_means
from robustcl.rng import Rng
from robustcl.study.grammar.columns import Derived
from robustcl.study.grammar.study import Study
from robustcl.study.numbers.reading import Reading
from robustcl.study.tables.table import StudyCell, StudyLine, make_cell

_STEADY = 0.975
"""The share of resamples in which a denominator must keep its sign, for an interval to say something."""

Numbers = NDArray[np.float64]


def fill(study: Study, lines: Sequence[StudyLine]) -> list[StudyLine]:
    """Return the lines with the derived columns of each, in the order of the columns.

    Of each seed its own numbers: several have a mean and a standard deviation. A single one has the 95 % interval of a
    bootstrap over images, where a journal tells which images were right in all the numbers that it is made of. Where
    these are of different images it is made of those that all share. The paper's number is made of the paper's where
    it states none itself.
    """
    rows = {row.name: row for row in study.row}
    found = list(lines)
    for place in range(len(lines[0].cells) if lines else 0):
        before = list(found)
        for number, line in enumerate(before):
            if line.row not in rows:
                continue
            column = study.columns_of(rows[line.row])[place]
            if isinstance(column, Derived):
                cells = list(line.cells)
                cells[place] = _cell(column, line, before)
                found[number] = dataclasses.replace(line, cells=tuple(cells))
    return found


def describe_images(study: Study, lines: Sequence[StudyLine]) -> list[str]:
    """Say of each relative drop whose two numbers are of different images on which of them it is."""
    told: dict[str, None] = {}
    rows = {row.name: row for row in study.row}
    for line in lines:
        for column in study.columns_of(rows[line.row]) if line.row in rows else []:
            if not isinstance(column, Derived) or column.against is None:
                continue
            both = [line.cell(column.of).readings, line.cell(column.against).readings]
            for seed in both[0]:
                parts = [readings[seed] for readings in both if seed in readings]
                if len(parts) == 2 and _differ(parts):
                    told[_describe(column, parts)] = None
    return list(told)


def _describe(column: Derived, parts: Sequence[Reading]) -> str:
    known, (of, against) = _shared(parts), (part.n for part in parts)
    if isinstance(known, str):
        return (f"{column.name}: its two numbers are of different images, {column.of} of {of} and "
                f"{column.against} of {against}; {known}")  # fmt: skip
    return f"{column.name}: on the {known.shape[1]} images that {column.of} and {column.against} share"


def _cell(column: Derived, line: StudyLine, lines: Sequence[StudyLine]) -> StudyCell:
    parts, own = _parts(column, line, lines), line.cell(column.name)
    gain = column.value == "gain"
    percent = line.cell(column.of).percent if gain else True
    if parts is None:
        return make_cell(column.name, {}, own.paper, percent=percent)
    seeds = [seed for seed in parts[0].readings if all(seed in part.readings for part in parts)]
    readings: dict[int, Reading] = {}
    for seed in seeds:
        each = [part.readings[seed] for part in parts]
        value = float(_value(column, [np.array([share]) for share in _shares(each)])[0])
        if np.isfinite(value):
            whose = (column.name, line.label)
            readings[seed] = _with_interval(column, value, each, whose) if len(seeds) == 1 else Reading(value)
    reported = [part.paper for part in parts]
    paper = own.paper if own.paper is not None else _paper(column, [one for one in reported if one is not None])
    planned = max(part.seeds + part.lacking for part in parts)
    bounded = column.value == "relative-drop"
    return make_cell(column.name, readings, paper, percent=percent, bounded=bounded, planned=planned)


def _parts(column: Derived, line: StudyLine, lines: Sequence[StudyLine]) -> list[StudyCell] | None:
    """Return the cells that a number is made of; ``None`` in the rows that it is measured from."""
    if column.against is not None:
        return [line.cell(column.of), line.cell(column.against)]
    rows = [name for name in (column.over, column.toward) if name is not None]
    if line.row in rows:
        return None
    there = [next(other for other in lines if other.row == name and other.point == line.point) for name in rows]
    return [one.cell(column.of) for one in (line, *there)]


def _value(column: Derived, parts: Sequence[Numbers]) -> Numbers:
    """Return the number made of shares or other numbers, (N,) each; not finite where there is nothing to divide by."""
    if column.value == "gain":
        return parts[0] - parts[1]
    above, below = (parts[1] - parts[0], parts[1])
    if column.value == "gap-closed":
        above, below = parts[0] - parts[1], parts[2] - parts[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Numbers = above / below
    return found


def _paper(column: Derived, parts: Sequence[float]) -> float | None:
    if len(parts) < {"gap-closed": 3}.get(column.value, 2):
        return None
    value = float(_value(column, [np.array([part]) for part in parts])[0])
    unit = 1.0 if column.value == "gain" else 100.0
    return value * unit if np.isfinite(value) else None


def _shares(parts: Sequence[Reading]) -> list[float]:
    """Return the numbers of the images that all parts share, where they were judged on different ones."""
    known = _shared(parts) if _differ(parts) else ""
    return [part.value for part in parts] if isinstance(known, str) else known.mean(axis=1).tolist()


def _shared(parts: Sequence[Reading]) -> NDArray[np.bool_] | str:
    known = [part.verdicts for part in parts if part.verdicts is not None]
    return share_images(known) if len(known) == len(parts) else "no journal has the outcome of each image"


def _differ(parts: Sequence[Reading]) -> bool:
    return len({part.n for part in parts if part.n is not None}) > 1


def _with_interval(column: Derived, value: float, parts: Sequence[Reading], whose: tuple[str, str]) -> Reading:
    outcomes = _shared(parts)
    if isinstance(outcomes, str):
        return Reading(value)
    means = resample_means(outcomes, Rng(0, "study", "derived", *whose)).T
    if column.value == "gap-closed" and not _is_steady(means[2] - means[1]):
        return Reading(value)
    found = _value(column, list(means))
    found = found[np.isfinite(found)]
    if len(found) < _STEADY * means.shape[1]:
        return Reading(value)
    low, high = np.quantile(found, [0.025, 0.975])
    return Reading(value, float(low), float(high), outcomes.shape[1])


def _is_steady(gap: Numbers) -> bool:
    return bool(max(np.mean(gap > 0), np.mean(gap < 0)) >= _STEADY)
