"""The table of a study: mean and spread over seeds, the paper's numbers beside ours; Markdown and records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustcl.measures.catalogue import VALUES
from robustcl.recipe import Use
from robustcl.report.tables import MISSING
from robustcl.study.grammar import (
    Accuracy,
    AnyColumn,
    Corrupted,
    Perturbed,
    Representation,
    Row,
    Study,
    Transferred,
)
from robustcl.study.reading import Reading
from robustcl.study.spots import Spot
from robustcl.terminal.markdown import render_table


@dataclass(frozen=True, slots=True)
class StudyCell:
    """One number of the table: mean over seeds, standard deviation of two or more, and what the paper reports.

    low, high: the 95 % interval over n images, of a single seed alone. Shares are in percent, as papers print them.
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

    def text(self) -> str:
        """Return the number as the table shows it."""
        if self.mean is None:
            return MISSING
        if self.std is not None:
            return f"{self._short(self.mean)} ± {self._short(self.std)}"
        if self.low is not None and self.high is not None:
            return f"{self._short(self.mean)} [{self._short(self.low)}, {self._short(self.high)}]"
        return self._short(self.mean)

    def reported(self) -> str:
        """Return the paper's number as the table shows it."""
        return MISSING if self.paper is None else self._short(self.paper)

    def _short(self, value: float) -> str:
        return f"{value:.2f}" if self.percent else f"{value:.4g}"


@dataclass(frozen=True, slots=True)
class StudyLine:
    """One line: a row at one point of the axes. ``data`` is the data set of the paper's numbers."""

    label: str
    point: Mapping[str, Any]
    cells: tuple[StudyCell, ...]
    data: str = ""


def line(
    study: Study,
    spot: Spot,
    readings: Sequence[Sequence[Reading | None]],
    data: str,
) -> StudyLine:
    """Make a line of the readings of each seed, in the order of the columns; ``data`` is the paper's data set."""
    row, point = spot.row, spot.point
    columns = study.columns_of(row)
    return StudyLine(
        spot.label,
        point,
        tuple(
            _cell(column, [reading[place] for reading in readings], _published(study, row, point, data, column.name))
            for place, column in enumerate(columns)
        ),
        data,
    )


def find_published(study: Study, dataset: Use) -> str:
    """Return the data set whose published numbers stand beside ours: the user's own where the paper has it.

    A file or folder of the user's is known by its name: ``npz:ucf101.npz`` is ucf101.
    """
    kind, _, rest = dataset.use.partition(":")
    names = [kind, Path(rest).stem, Path(str(dataset.options.get("path", ""))).stem]
    known = {data for row in study.row for data in row.paper}
    known |= {data for axis in study.axis for papers in axis.paper.values() for data in papers}
    return next((name for name in names if name in known), study.data)


def _published(study: Study, row: Row, point: Mapping[str, Any], data: str, column: str) -> float | None:
    if row.paper:
        return row.paper.get(data, {}).get(column)
    if len(study.axis) == 1 and len(study.row) == 1:
        axis = study.axis[0]
        return axis.paper.get(str(point[axis.name]), {}).get(data, {}).get(column)
    return None


def _cell(column: AnyColumn, readings: Sequence[Reading | None], paper: float | None) -> StudyCell:
    found = [reading for reading in readings if reading is not None]
    percent = _is_share(column)
    if not found:
        return StudyCell(column.name, None, None, None, None, None, 0, paper, percent)
    unit = 100.0 if percent else 1.0
    values = [reading.value * unit for reading in found]
    mean = sum(values) / len(values)
    alone = found[0]
    if len(values) > 1:
        std = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
        return StudyCell(column.name, mean, std, None, None, alone.n, len(values), paper, percent)
    low, high = (None if edge is None else edge * unit for edge in (alone.low, alone.high))
    return StudyCell(column.name, mean, None, low, high, alone.n, 1, paper, percent)


def _is_share(column: AnyColumn) -> bool:
    if isinstance(column, Perturbed | Representation):
        return VALUES[column.value][1].share
    return isinstance(column, Accuracy | Corrupted | Transferred)


def markdown(lines: Sequence[StudyLine], data: str, corner: str = "") -> str:
    """Return the table, aligned for a terminal; a column of the paper's numbers stands right of ours."""
    columns = [cell.column for cell in lines[0].cells]
    reported = {cell.column for one in lines for cell in one.cells if cell.paper is not None}
    head = [corner]
    for column in columns:
        head += [column, f"paper, {data}"] if column in reported else [column]
    body = [[one.label, *_texts(one, reported)] for one in lines]
    rows = [[cell.replace("|", "\\|") for cell in row] for row in [head, *body]]
    return render_table(rows)


def _texts(one: StudyLine, reported: set[str]) -> list[str]:
    found: list[str] = []
    for cell in one.cells:
        found.append(cell.text())
        if cell.column in reported:
            found.append(cell.reported())
    return found


def records(lines: Sequence[StudyLine]) -> list[dict[str, Any]]:
    """Return one record per number, for study.csv and for tools."""
    return [
        {"row": one.label, **{f"axis {name}": value for name, value in one.point.items()}, "column": cell.column,
         "mean": cell.mean, "std": cell.std, "low": cell.low, "high": cell.high, "n": cell.n, "seeds": cell.seeds,
         "paper": cell.paper, "paper_data": one.data if cell.paper is not None else None}
        for one in lines
        for cell in one.cells
    ]  # fmt: skip
