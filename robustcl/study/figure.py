"""The figures of a study, each as one SVG: of its numbers here, of pictures in ``robustcl.study.pictures``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from matplotlib.figure import Figure as Canvas

from robustcl.report.canvas import INK, PALETTE, draw
from robustcl.study import columns, panels, pictures
from robustcl.study.anchors import draw_anchors
from robustcl.study.columns import Curve
from robustcl.study.drawings import Anchors, Bars, Epochs, Figure, Lines, Picture, Scatter, SilhouetteFigure, Sweeps
from robustcl.study.grammar import Study, swept
from robustcl.study.grid import Planned
from robustcl.study.panels import Panel
from robustcl.study.table import StudyCell, StudyLine


@dataclass(frozen=True, slots=True)
class DrawnFigure:
    """A figure: its SVG, which carries its own legend, and its caption."""

    svg: Markup
    caption: str

    @property
    def width(self) -> float:
        """The width of its own, in points: letters are of 8 points then."""
        box = re.search(r'viewBox="[\d.-]+ [\d.-]+ ([\d.]+)', self.svg)
        return float(box[1]) if box else 400.0


def draw_all(
    study: Study, lines: Sequence[StudyLine], runs: Sequence[tuple[Planned, Path]], data: str
) -> list[DrawnFigure]:
    """Draw every figure of a study; ``runs`` are the finished ones and their folders, ``data`` is the paper's."""
    first = [(run, folder) for run, folder in runs if run.seed == 0]
    return [DrawnFigure(_one(f"figure-{number}", study, figure, lines, _those_with(number, figure, first), data),
                        figure.caption) for number, figure in enumerate(study.figure, 1)]  # fmt: skip


def _those_with(number: int, figure: Figure, runs: Sequence[tuple[Planned, Path]]) -> Sequence[tuple[Planned, Path]]:
    """Return the runs that can have a figure; along epochs every run has what it has logged."""
    return [one for one in runs if isinstance(figure, Epochs) or f"figure {number}" not in one[0].lacks]


def _one(
    name: str, study: Study, figure: Figure, lines: Sequence[StudyLine], runs: Sequence[tuple[Planned, Path]], data: str
) -> Markup:
    if isinstance(figure, Bars):
        return draw(name, _alt(figure.columns, lines), _wide(lines, figure), _bars(figure, lines, data))
    if isinstance(figure, Lines):
        along = [Panel(column, _along(column, figure.axis, lines), figure.axis) for column in figure.columns]
        return panels.draw_panels(name, along)
    if isinstance(figure, Sweeps):
        return panels.draw_panels(name, [_swept(study, column, lines) for column in figure.columns], data)
    if isinstance(figure, Scatter):
        return panels.draw_panels(name, [_against(study, figure, lines)])
    if isinstance(figure, SilhouetteFigure):
        scores = [Curve(run.label if len(runs) > 1 else curve.name, curve.x, curve.y, curve.mark)
                  for run, folder in runs for curve in columns.silhouettes(folder)]  # fmt: skip
        return panels.draw_panels(name, [Panel("silhouette score", scores, "number of clusters")])
    if isinstance(figure, Anchors):
        return draw_anchors(name, figure, runs)
    if isinstance(figure, Picture):
        return pictures.draw_pictures(name, figure, runs)
    return panels.draw_panels(name, [_by_epoch(figure, metric, runs) for metric in figure.metrics])


def _by_epoch(figure: Epochs, metric: str, runs: Sequence[tuple[Planned, Path]]) -> Panel:
    curves = [(run.label, columns.epochs(run, folder, figure.stage, metric)) for run, folder in runs]
    return Panel(metric, [Curve(label, curve.x, curve.y) for label, curve in curves if curve.y], "epoch")


def _along(column: str, axis: str, lines: Sequence[StudyLine]) -> list[Curve]:
    """Return a curve for each row: the lines that differ in this axis alone belong together."""
    groups: dict[str, list[tuple[float, float]]] = {}
    for one in lines:
        rest = ", ".join(part for part in one.label.split(", ") if part != f"{axis} = {one.point[axis]}")
        cell = _cell(one, column)
        if cell.mean is not None:
            groups.setdefault(rest or column, []).append((float(one.point[axis]), cell.mean))
    return [
        Curve(label, tuple(x for x, _ in sorted(points)), tuple(y for _, y in sorted(points)))
        for label, points in groups.items()
    ]


def _swept(study: Study, column: str, lines: Sequence[StudyLine]) -> Panel:
    """Return the panel of a swept column: a curve for each line of the table."""
    values = _values(study, column)
    names = [] if all(isinstance(value, int | float) for value in values) else list(map(str, values))
    places = [float(place) if names else float(value) for place, value in enumerate(values)]
    curves = []
    for one in lines:
        cells = [(x, _cell(one, swept(column, value))) for x, value in zip(places, values, strict=True)]
        found = sorted((x, cell.mean) for x, cell in cells if cell.mean is not None)
        paper = tuple((x, cell.paper) for x, cell in cells if cell.paper is not None)
        curves.append(Curve(one.label, tuple(x for x, _ in found), tuple(y for _, y in found), paper=paper))
    before, _, after = column.partition("{}")
    return Panel(before.strip(" ,:"), curves, after.strip(), names=names)


def _against(study: Study, figure: Scatter, lines: Sequence[StudyLine]) -> Panel:
    """Return the panel of one column against another: a point for each line, or one for each value of the sweep."""
    curves = []
    for one in lines:
        pairs = [(_cell(one, swept(figure.x, value)).mean, _cell(one, swept(figure.y, value)).mean)
                 for value in _values(study, figure.x) or [""]]  # fmt: skip
        found = [(x, y) for x, y in pairs if x is not None and y is not None]
        curves.append(Curve(one.label, tuple(x for x, _ in found), tuple(y for _, y in found)))
    x, y = (name.replace("{}", "").strip() for name in (figure.x, figure.y))
    return Panel("", curves, x, y)


def _values(study: Study, column: str) -> list[float | int | str]:
    sweep = next(other.sweep for other in study.column if other.name == column)
    return [] if sweep is None else sweep.values


def _cell(line: StudyLine, column: str) -> StudyCell:
    return next(cell for cell in line.cells if cell.column == column)


def _bars(figure: Bars, lines: Sequence[StudyLine], data: str) -> Callable[[Canvas], None]:
    """Return the painter of grouped bars: a group for each line, a bar for each column, the paper's number a dash."""

    def paint(canvas: Canvas) -> None:
        ax = canvas.subplots()
        ax.set_axisbelow(True)
        width = 0.8 / len(figure.columns)
        for place, column in enumerate(figure.columns):
            cells = [_cell(one, column) for one in lines]
            x = [group + (place - (len(figure.columns) - 1) / 2) * width for group in range(len(lines))]
            here = [(at, cell) for at, cell in zip(x, cells, strict=True) if cell.mean is not None]
            colour = PALETTE[place % len(PALETTE)]
            ax.bar([at for at, _ in here], [cell.mean or 0.0 for _, cell in here], width * 0.92, color=colour,
                   label=column)  # fmt: skip
            spread = [(at, cell.mean or 0.0, _reach(cell)) for at, cell in here if cell.std is not None]
            ax.errorbar([at for at, _, _ in spread], [mean for _, mean, _ in spread],
                        [[reach[side] for _, _, reach in spread] for side in (0, 1)],
                        fmt="none", ecolor=INK, capsize=2)  # fmt: skip
            paper = [(at, cell.paper) for at, cell in zip(x, cells, strict=True) if cell.paper is not None]
            if paper:
                label = f"paper, {data}" if place == 0 else None
                ax.plot(*zip(*paper, strict=True), color=INK, marker="_", markersize=14, linestyle="none", label=label)
        ax.set_xticks(range(len(lines)), [one.label for one in lines], rotation=20 if len(lines) > 3 else 0,
                      ha="right" if len(lines) > 3 else "center")  # fmt: skip
        panels.legend(canvas, ax, len(figure.columns) + 1)

    return paint


def _reach(cell: StudyCell) -> tuple[float, float]:
    """Return how far an error bar reaches down and up: the standard deviation, and of a share not out of 0 to 100 %."""
    mean, std = cell.mean or 0.0, cell.std or 0.0
    if not cell.percent or not 0 <= mean <= 100:
        return std, std
    return min(std, mean), min(std, 100 - mean)


def _wide(lines: Sequence[StudyLine], figure: Bars) -> tuple[float, float]:
    return max(4.5, 0.9 + len(lines) * (0.5 + 0.3 * len(figure.columns))), 3.4


def _alt(names: Sequence[str], lines: Sequence[StudyLine]) -> str:
    said = [f"{one.label}: " + ", ".join(f"{cell.column} {cell.text()}" for cell in one.cells if cell.column in names)
            for one in lines]  # fmt: skip
    return f"Bars. {'; '.join(said)}"
