"""The comparison: a line per method, a column per question, and for every difference a paired test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from robustcl.comparison import branches as branch
from robustcl.comparison import columns as asked
from robustcl.comparison import remarks
from robustcl.comparison.columns import Column, RunNumber
from robustcl.comparison.pairing import Difference, compare_pair, correct
from robustcl.comparison.runs import By, ComparedRun, Group, find_group, groups, read
from robustcl.comparison.statistics import deviation
from robustcl.errors import UsageError
from robustcl.report import tables

ALL = "all"
"""The split that stands for every one."""


@dataclass(frozen=True, slots=True)
class ComparedCell:
    """One method's number in one column.

    values: one for each of ``seeds``, as results.json states them. std: the sample standard deviation of two or more.
    low, high: the 95 % interval over images, of a single seed alone. best: significantly above the second best.
    """

    values: tuple[float, ...]
    seeds: tuple[int | None, ...]
    low: float | None = None
    high: float | None = None
    best: bool = False

    @property
    def mean(self) -> float | None:
        """The mean over seeds, ``None`` where nothing was measured."""
        return math.fsum(self.values) / len(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """The sample standard deviation over seeds, ``None`` of fewer than two."""
        return deviation(self.values)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Methods side by side: ``cells[line][column]``; ``differences`` name groups and columns by their places."""

    groups: tuple[Group, ...]
    columns: tuple[Column, ...]
    cells: tuple[tuple[ComparedCell, ...], ...]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]


def compare(
    runs: Sequence[Path | str],
    *,
    by: By = "recipe",
    baseline: str | None = None,
    metrics: Sequence[str] = (),
    protocols: Sequence[str] = (),
    routes: Sequence[str] = (),
    splits: Sequence[str] = (),
    branches: Sequence[str] = (),
    allow_mixed: bool = False,
) -> Comparison:
    """Lay finished runs side by side.

    A run is a folder or "LABEL=FOLDER". Runs of one recipe that differ in their seed alone are one line (``by``). The
    test split is shown unless ``splits`` names others, and each run's judged branch, as ``branches`` ("LABEL=ROUTE") or
    its recipe says it, unless ``routes`` names some; "all" is every one. Differences are against ``baseline``, or else
    against the best of each column.

    Raises:
        DataError: a folder that is no finished run, or a damaged journal.
        UsageError: fewer than two runs, a seed twice, nothing left to show, or columns whose runs were not measured
            alike, unless ``allow_mixed``.
    """
    found = read(runs)
    lines = groups(found, by)
    shown, hidden = _splits(found, splits)
    if branches and routes:
        raise UsageError(
            f"--branch {branches[0]} and --route {routes[0]}: show the judged branches, or those of a name"
        )
    judged = None if routes else branch.choose_branches(lines, branches)
    named = () if ALL in routes else routes
    wanted = {"metric": metrics, "protocol": protocols, "route": named, "split": shown}
    columns = asked.list_columns(found, wanted, judged)
    refused = asked.refusal(columns)
    if refused and not allow_mixed:
        raise UsageError(refused)
    cells = [[_cell(column, line) for column in columns] for line in lines]
    base = None if baseline is None else find_group(lines, baseline)
    differences: list[Difference] = []
    for place, column in enumerate(columns):
        if column.ranked:
            differences += _differences(lines, column, place, [line[place] for line in cells], base)
    tested = correct(differences)
    _mark(cells, columns, tested)
    notes = remarks.notes(lines, columns, tested, hidden, None if base is None else lines[base].label)
    notes = (*notes, *([] if routes else branch.remark(lines, judged)))
    # The test of best against second decides what is bold; it is listed only where it is against the reference.
    listed = tuple(difference for difference in tested if base is None or difference.against == base)
    return Comparison(lines, columns, tuple(tuple(line) for line in cells), listed, notes)


def _splits(runs: Sequence[ComparedRun], splits: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Return the splits to show, none for all of them, and those that are left out unasked."""
    if splits:
        return (() if ALL in splits else splits), ()
    known = dict.fromkeys(str(row.get("split") or "") for run in runs for row in run.results["rows"])
    if asked.TEST not in known:
        return (), ()
    return (asked.TEST,), [split for split in known if split != asked.TEST]


def _cell(column: Column, line: Group) -> ComparedCell:
    entries = _measured(column, line)
    values = tuple(float(entry.row["value"]) for entry in entries)
    seeds = tuple(entry.run.seed for entry in entries)
    if len(entries) != 1:
        return ComparedCell(values, seeds)
    row = tables.records(tables.frame({"rows": [entries[0].row]}))[0]
    return ComparedCell(values, seeds, row["low"], row["high"])


def _measured(column: Column, line: Group) -> list[RunNumber]:
    entries = [column.entry(run) for run in line.runs]
    return [entry for entry in entries if entry is not None and entry.row.get("value") is not None]


def _differences(
    lines: Sequence[Group], column: Column, place: int, cells: Sequence[ComparedCell], base: int | None
) -> list[Difference]:
    """Test every method against the reference, and the best against the second where that is another test."""
    order = _order(cells)
    if len(order) < 2 or (base is not None and not cells[base].values):
        return []
    reference = order[0] if base is None else base
    pairs = [(line, reference) for line in range(len(lines)) if line != reference and cells[line].values]
    if reference not in order[:2]:
        pairs.append((order[1], order[0]))
    return [_tested(lines, column, place, cells, line, against) for line, against in pairs]


def _tested(
    lines: Sequence[Group], column: Column, place: int, cells: Sequence[ComparedCell], line: int, against: int
) -> Difference:
    first, second = ([entry.verdicts for entry in _measured(column, lines[group])] for group in (line, against))
    names = (column.metric, *column.where, column.settings, lines[line].label, lines[against].label)
    mean, other = cells[line].mean, cells[against].mean
    assert mean is not None
    assert other is not None
    return Difference(place, line, against, mean - other, compare_pair(first, second, names))


def _order(cells: Sequence[ComparedCell]) -> list[int]:
    """Return the places of what was measured, the highest mean first."""
    means: Mapping[int, float] = {place: cell.mean for place, cell in enumerate(cells) if cell.mean is not None}
    return sorted(means, key=lambda place: -means[place])


def _mark(cells: list[list[ComparedCell]], columns: Sequence[Column], differences: Sequence[Difference]) -> None:
    """Mark the best of each ranked column if it is significantly above the second."""
    for place, column in enumerate(columns):
        order = _order([line[place] for line in cells])
        if not column.ranked or len(order) < 2:
            continue
        pair = {order[0], order[1]}
        if any(d.significant for d in differences if d.column == place and {d.line, d.against} == pair):
            cells[order[0]][place] = replace(cells[order[0]][place], best=True)
