"""The numbers of a study: mean and spread over seeds, the paper's numbers beside ours, and their records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robustcl.measures.catalogue import VALUES
from robustcl.recipe import Use
from robustcl.report.grid import MISSING, Text
from robustcl.study.grammar.columns import (
    Accuracy,
    AnyColumn,
    Corrupted,
    Derived,
    Perturbed,
    Representation,
    Transferred,
)
from robustcl.study.grammar.spots import Spot
from robustcl.study.grammar.study import Row, Study
from robustcl.study.numbers.reading import Reading


@dataclass(frozen=True, slots=True)
class StudyCell:
    """One number of the table: mean over seeds, standard deviation of two or more, and what the paper reports.

    low, high: the 95 % interval over n images, of a single seed alone. Shares are in percent, as papers print them.
    bounded: whether it lies from 0 to 100 %. best: the best of its column, or not to be told from it. lacking: how many
    seeds of the line have no number here. readings: the number of each seed, in its own unit.
    """

    column: str
    mean: float | None
    std: float | None
    low: float | None
    high: float | None
    n: int | None
    seeds: int
    paper: float | None
    percent: bool = True
    bounded: bool = True
    best: bool = field(default=False, compare=False)
    lacking: int = 0
    readings: Mapping[int, Reading] = field(default_factory=dict, compare=False, repr=False)

    def text(self) -> str:
        """Return the number as the table shows it."""
        return self.shown().whole

    def shown(self) -> Text:
        """Return the number, and apart from it how sure it is."""
        if self.mean is None:
            return Text(MISSING)
        spread = ""
        if self.std is not None:
            spread = f"± {self._short(self.std)}"
        elif self.low is not None and self.high is not None:
            spread = f"[{self._short(self.low)}, {self._short(self.high)}]"
        if self.lacking:
            spread = f"{spread} ({self.seeds} of {self.seeds + self.lacking} seeds)".strip()
        return Text(self._short(self.mean), self.best, spread, self.mean)

    def reported(self) -> Text:
        """Return the paper's number as the table shows it."""
        return Text(MISSING if self.paper is None else self._short(self.paper), value=self.paper, muted=True)

    def reach(self) -> tuple[float, float]:
        """Return how far an error bar reaches down and up, and of a share not out of 0 to 100 %; 0 where none is known.

        The standard deviation over seeds, or of a single one the 95 % interval over images.
        """
        if self.mean is None:
            return 0.0, 0.0
        low, high = (self.std or 0.0,) * 2
        if self.std is None and self.low is not None and self.high is not None:
            low, high = max(self.mean - self.low, 0.0), max(self.high - self.mean, 0.0)
        if not self.percent or not self.bounded or not 0 <= self.mean <= 100:
            return low, high
        return min(low, self.mean), min(high, 100 - self.mean)

    def _short(self, value: float) -> str:
        return f"{value:.2f}" if self.percent else f"{value:.4g}"


@dataclass(frozen=True, slots=True)
class StudyLine:
    """One line: a row at one point of the axes. ``data`` is the data set of the paper's numbers.

    row: the row's name. own: whether ``data`` is what our numbers are of too. alike: of which images and threat the
    numbers are, and those on the other data set; equal ones may be ranked.
    """

    label: str
    point: Mapping[str, Any]
    cells: tuple[StudyCell, ...]
    data: str = ""
    row: str = ""
    own: bool = True
    alike: tuple[str, str] = ("", "")

    def cell(self, column: str) -> StudyCell:
        """Return the cell of a column."""
        return next(cell for cell in self.cells if cell.column == column)


def line(
    study: Study,
    spot: Spot,
    readings: Sequence[Sequence[Reading | None]],
    data: str,
    *,
    seeds: Sequence[int] | None = None,
    planned: int | None = None,
    own: bool = True,
    alike: tuple[str, str] = ("", ""),
) -> StudyLine:
    """Make a line of the readings of each seed, in the order of the columns; ``data`` is the paper's data set.

    seeds: which they are, 0, 1, ... where it is not said; planned: how many there should be.
    """
    row, point = spot.row, spot.point
    numbers = seeds if seeds is not None else range(len(readings))
    wanted = len(readings) if planned is None else planned
    cells = []
    for place, column in enumerate(study.columns_of(row)):
        by_seed = {seed: found for seed, one in zip(numbers, readings, strict=True) if (found := one[place])}
        paper = _published(study, row, point, data, column.name)
        cells.append(make_cell(column.name, by_seed, paper, percent=_is_share(column), planned=wanted))
    return StudyLine(spot.label, point, tuple(cells), data, row.name, own, alike)


def is_published_of(dataset: Use, data: str) -> bool:
    """Say whether published numbers of ``data`` are of this very data set."""
    return data in _names(dataset)


def find_published(study: Study, dataset: Use) -> str:
    """Return the data set whose published numbers stand beside ours: the user's own where the paper has it.

    A file or folder of the user's is known by its name: ``npz:ucf101.npz`` is ucf101.
    """
    known = {data for row in study.row for data in row.paper}
    known |= {data for axis in study.axis for papers in axis.paper.values() for data in papers}
    return next((name for name in _names(dataset) if name in known), study.data)


def _names(dataset: Use) -> list[str]:
    kind, _, rest = dataset.use.partition(":")
    return [kind, Path(rest).stem, Path(str(dataset.options.get("path", ""))).stem]


def _published(study: Study, row: Row, point: Mapping[str, Any], data: str, column: str) -> float | None:
    if row.paper:
        return row.paper.get(data, {}).get(column)
    if len(study.axis) == 1 and len(study.row) == 1:
        axis = study.axis[0]
        return axis.paper.get(str(point[axis.name]), {}).get(data, {}).get(column)
    return None


def make_cell(
    name: str,
    readings: Mapping[int, Reading],
    paper: float | None,
    *,
    percent: bool,
    bounded: bool = True,
    planned: int | None = None,
) -> StudyCell:
    """Return the cell of a column from the reading of each seed; ``planned`` seeds should have one."""
    found = list(readings.values())
    if not found:
        return StudyCell(name, None, None, None, None, None, 0, paper, percent, bounded)
    unit = 100.0 if percent else 1.0
    values = [reading.value * unit for reading in found]
    mean = sum(values) / len(values)
    std = low = high = None
    if len(values) > 1:
        std = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    else:
        low, high = (None if edge is None else edge * unit for edge in (found[0].low, found[0].high))
    lacking = max(0, (planned or 0) - len(values))
    return StudyCell(
        name, mean, std, low, high, found[0].n, len(values), paper, percent, bounded, lacking=lacking, readings=readings
    )


def _is_share(column: AnyColumn) -> bool:
    if isinstance(column, Perturbed | Representation):
        return VALUES[column.value][1].share
    return isinstance(column, Accuracy | Corrupted | Derived | Transferred)


def records(lines: Sequence[StudyLine]) -> list[dict[str, Any]]:
    """Return one record per number, for study.csv and for tools."""
    return [
        {"row": one.label, **{f"axis {name}": value for name, value in one.point.items()}, "column": cell.column,
         "mean": cell.mean, "std": cell.std, "low": cell.low, "high": cell.high, "n": cell.n, "seeds": cell.seeds,
         "paper": cell.paper, "paper_data": one.data if cell.paper is not None else None}
        for one in lines
        for cell in one.cells
    ]  # fmt: skip
