"""The figures of a study, each as SVG, PDF and PNG: of its numbers here, of pictures in ``pictures``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from robustcl.report.canvas import Sketch
from robustcl.study.figures import bars, panels, pictures
from robustcl.study.figures.anchors import draw_anchors
from robustcl.study.figures.panels import Panel
from robustcl.study.grammar.columns import swept
from robustcl.study.grammar.figures import (
    Anchors,
    Bars,
    Epochs,
    Figure,
    Lines,
    Picture,
    Scatter,
    SilhouetteFigure,
    Sweeps,
)
from robustcl.study.grammar.study import Study
from robustcl.study.numbers import columns
from robustcl.study.numbers.columns import Curve
from robustcl.study.plan.planned import Planned
from robustcl.study.tables.table import StudyCell, StudyLine


@dataclass(frozen=True, slots=True)
class DrawnFigure:
    """A figure, which carries its own legend, and its caption."""

    sketch: Sketch
    caption: str
    svg: Markup

    @property
    def width(self) -> float:
        """The width of its own, in points: letters are of 8 points then."""
        return 72 * self.sketch.size[0]


def draw_all(
    study: Study, lines: Sequence[StudyLine], runs: Sequence[tuple[Planned, Path]], data: str
) -> list[DrawnFigure]:
    """Draw every figure of a study; ``runs`` are the finished ones and their folders, ``data`` is the paper's."""
    first = [(run, folder) for run, folder in runs if run.seed == 0]
    found = []
    for number, figure in enumerate(study.figure, 1):
        sketch = _one(f"figure-{number}", study, figure, lines, _those_with(number, figure, first), data)
        found.append(DrawnFigure(sketch, _caption(figure, lines), sketch.svg()))
    return found


def _those_with(number: int, figure: Figure, runs: Sequence[tuple[Planned, Path]]) -> Sequence[tuple[Planned, Path]]:
    """Return the runs that can have a figure; along epochs every run has what it has logged."""
    return [one for one in runs if isinstance(figure, Epochs) or f"figure {number}" not in one[0].lacks]


def _caption(figure: Figure, lines: Sequence[StudyLine]) -> str:
    """Return a figure's caption, and what its error bars are."""
    if not isinstance(figure, Bars | Lines | Sweeps | Scatter):
        return figure.caption
    names = figure.columns if isinstance(figure, Bars | Lines | Sweeps) else [figure.x, figure.y]
    cells = [cell for line in lines for cell in line.cells if any(_is_of(cell.column, name) for name in names)]
    drawn = [cell for cell in cells if any(cell.reach())]
    bars_of = [
        "the standard deviation over seeds" if any(cell.std is not None for cell in drawn) else "",
        "the 95 % interval over images" if any(cell.std is None for cell in drawn) else "",
    ]
    said = " or ".join(filter(None, bars_of))
    return " ".join(filter(None, [figure.caption, f"Error bars: {said}." if said else ""]))


def _is_of(column: str, name: str) -> bool:
    before, swept_over, after = name.partition("{}")
    return column.startswith(before) and column.endswith(after) if swept_over else column == name


def _one(
    name: str, study: Study, figure: Figure, lines: Sequence[StudyLine], runs: Sequence[tuple[Planned, Path]], data: str
) -> Sketch:
    if isinstance(figure, Bars):
        return bars.draw_bars(name, figure.columns, lines, data)
    if isinstance(figure, Lines):
        along = [Panel("", _along(column, figure.axis, lines), figure.axis, _label(column, lines))
                 for column in figure.columns]  # fmt: skip
        return panels.draw_panels(name, along)
    if isinstance(figure, Sweeps):
        return panels.draw_panels(name, [_swept(study, column, lines) for column in figure.columns], data)
    if isinstance(figure, Scatter):
        return panels.draw_panels(name, [_against(study, figure, lines)])
    if isinstance(figure, SilhouetteFigure):
        scores = [Curve(run.label if len(runs) > 1 else curve.name, curve.x, curve.y, curve.mark)
                  for run, folder in runs for curve in columns.silhouettes(folder)]  # fmt: skip
        return panels.draw_panels(name, [Panel("", scores, "number of clusters K", "mean silhouette")])
    if isinstance(figure, Anchors):
        return draw_anchors(name, figure, runs)
    if isinstance(figure, Picture):
        return pictures.draw_pictures(name, figure, runs)
    return panels.draw_panels(name, [_by_epoch(figure, metric, runs) for metric in figure.metrics])


def _label(column: str, lines: Sequence[StudyLine]) -> str:
    """Return an axis's label: the column, the values of a sweep left out, and its unit."""
    cells = [cell for line in lines for cell in line.cells if _is_of(cell.column, column)]
    before, between, after = column.partition("{}")
    name = before.strip(" ,:") or after.strip(" ,:") if between else column
    return f"{name} (%)".strip() if cells and cells[0].percent else name


def _by_epoch(figure: Epochs, metric: str, runs: Sequence[tuple[Planned, Path]]) -> Panel:
    curves = [(run.label, columns.epochs(run, folder, figure.stage, metric)) for run, folder in runs]
    return Panel("", [Curve(label, curve.x, curve.y) for label, curve in curves if curve.y], "epoch", metric)


def _along(column: str, axis: str, lines: Sequence[StudyLine]) -> list[Curve]:
    """Return a curve for each row: the lines that differ in this axis alone belong together."""
    groups: dict[str, list[tuple[float, StudyCell]]] = {}
    for one in lines:
        rest = ", ".join(part for part in one.label.split(", ") if part != f"{axis} = {one.point[axis]}")
        groups.setdefault(rest or column, []).append((float(one.point[axis]), one.cell(column)))
    return [curve for label, points in groups.items() if (curve := _curve(label, points)).y]


def _curve(label: str, points: Sequence[tuple[float, StudyCell]], paper: tuple[tuple[float, float], ...] = ()) -> Curve:
    """Return the curve through the cells that have a number, in the order of x, with their error bars."""
    found = sorted(((x, cell) for x, cell in points if cell.mean is not None), key=lambda point: point[0])
    y = tuple(cell.mean for _, cell in found if cell.mean is not None)
    return Curve(label, tuple(x for x, _ in found), y, paper=paper, reach=tuple(cell.reach() for _, cell in found))


def _swept(study: Study, column: str, lines: Sequence[StudyLine]) -> Panel:
    """Return the panel of a swept column: a curve for each line of the table.

    The paper's numbers are marked where they are of the data set that ours are of.
    """
    values, sweep = _values(study, column), next(other.sweep for other in study.column if other.name == column)
    names = [] if all(isinstance(value, int | float) for value in values) else list(map(str, values))
    places = [float(place) if names else float(value) for place, value in enumerate(values)]
    curves = []
    for one in lines:
        cells = [(x, one.cell(swept(column, value))) for x, value in zip(places, values, strict=True)]
        paper = tuple((x, cell.paper) for x, cell in cells if cell.paper is not None and one.own)
        curves.append(_curve(one.label, cells, paper))
    after = column.partition("{}")[2].strip(" ,:")
    key = sweep.key.rpartition(".")[2].replace("_", " ") if sweep is not None and not names else ""
    return Panel("", curves, after or key, _label(column, lines), names)


def _against(study: Study, figure: Scatter, lines: Sequence[StudyLine]) -> Panel:
    """Return the panel of one column against another: a point for each line, or one for each value of the sweep."""
    curves = []
    for one in lines:
        pairs = [(one.cell(swept(figure.x, value)).mean, one.cell(swept(figure.y, value)))
                 for value in _values(study, figure.x) or [""]]  # fmt: skip
        found = [(x, y.mean, y.reach()) for x, y in pairs if x is not None and y.mean is not None]
        ours, theirs, reach = zip(*found, strict=True) if found else ((), (), ())
        curves.append(Curve(one.label, ours, theirs, reach=reach))
    x, y = (_label(name, lines) for name in (figure.x, figure.y))
    return Panel("", curves, x, y)


def _values(study: Study, column: str) -> list[float | int | str]:
    sweep = next(other.sweep for other in study.column if other.name == column)
    return [] if sweep is None else sweep.values
