"""The figures of a study: bars, lines along an axis, metrics by epoch, silhouette curves, each as one SVG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from robustcl.report.canvas import DASHES, INK, PALETTE, draw
from robustcl.study import columns
from robustcl.study.columns import Curve
from robustcl.study.grammar import Bars, Epochs, Figure, Lines, Silhouettes, Study
from robustcl.study.grid import Planned
from robustcl.study.table import Line

_MARKS = ("o", "s", "^", "D", "v", "P")


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure: its SVG, which carries its own legend, and its caption."""

    svg: Markup
    caption: str


def drawn(study: Study, lines: Sequence[Line], runs: Sequence[tuple[Planned, Path]], data: str) -> list[Drawn]:
    """Draw every figure of a study; ``runs`` are the finished ones and their folders, ``data`` is the paper's."""
    return [_one(f"figure-{number}", figure, lines, runs, data) for number, figure in enumerate(study.figure, 1)]


def _one(name: str, figure: Figure, lines: Sequence[Line], runs: Sequence[tuple[Planned, Path]], data: str) -> Drawn:
    if isinstance(figure, Bars):
        return Drawn(draw(name, _alt(figure.columns, lines), _wide(lines, figure), _bars(figure, lines, data)),
                     figure.caption)  # fmt: skip
    if isinstance(figure, Lines):
        panels = {column: _along(column, figure.axis, lines) for column in figure.columns}
        return Drawn(_panels(name, panels, figure.axis, ""), figure.caption)
    first = [(run, folder) for run, folder in runs if run.seed == 0]
    if isinstance(figure, Silhouettes):
        scores = [Curve(run.label if len(first) > 1 else curve.name, curve.x, curve.y, curve.mark)
                  for run, folder in first for curve in columns.silhouettes(folder)]  # fmt: skip
        return Drawn(_panels(name, {"silhouette score": scores}, "number of clusters", ""), figure.caption)
    return Drawn(_panels(name, _by_epoch(figure, first), "epoch", ""), figure.caption)


def _by_epoch(figure: Epochs, runs: Sequence[tuple[Planned, Path]]) -> dict[str, list[Curve]]:
    panels: dict[str, list[Curve]] = {}
    for metric in figure.metrics:
        curves = [(run.label, columns.epochs(run, folder, figure.stage, metric)) for run, folder in runs]
        panels[metric] = [Curve(label, curve.x, curve.y) for label, curve in curves if curve.y]
    return panels


def _along(column: str, axis: str, lines: Sequence[Line]) -> list[Curve]:
    """Return a curve for each row: the lines that differ in this axis alone belong together."""
    groups: dict[str, list[tuple[float, float]]] = {}
    for one in lines:
        rest = ", ".join(part for part in one.label.split(", ") if part != f"{axis} = {one.point[axis]}")
        cell = next(cell for cell in one.cells if cell.column == column)
        if cell.mean is not None:
            groups.setdefault(rest or column, []).append((float(one.point[axis]), cell.mean))
    return [
        Curve(label, tuple(x for x, _ in sorted(points)), tuple(y for _, y in sorted(points)))
        for label, points in groups.items()
    ]


def _panels(name: str, panels: Mapping[str, Sequence[Curve]], x: str, alt: str) -> Markup:
    """Draw one panel for each metric, one line for each row."""
    labels = list(dict.fromkeys(curve.name for curves in panels.values() for curve in curves))

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots(1, len(panels), squeeze=False)[0]
        for ax, (title, curves) in zip(axes, panels.items(), strict=True):
            for curve in curves:
                place = labels.index(curve.name)
                _line(ax, curve, place)
            ax.set_title(title, fontsize=9.5)
            ax.set_xlabel(x)
            whole = all(float(value).is_integer() for curve in curves for value in curve.x)
            ax.xaxis.set_major_locator(MaxNLocator(6, integer=whole))
            ax.yaxis.set_major_locator(MaxNLocator(5))
        _legend(canvas, axes[0], len(labels))

    said = "; ".join(f"{title}: " + ", ".join(
        f"{curve.name} from {curve.y[0]:.3g} to {curve.y[-1]:.3g}" for curve in curves if curve.y)
        for title, curves in panels.items())  # fmt: skip
    return draw(name, alt or f"Curves along {x}. {said}", (3.6 * len(panels) + 0.6, 3.0 + 0.22 * len(labels)), paint)


def _line(ax: Axes, curve: Curve, place: int) -> None:
    colour, dash = PALETTE[place % len(PALETTE)], DASHES[place // len(PALETTE) % len(DASHES)]
    style = (0, tuple(map(float, dash.split()))) if dash else "-"
    ax.plot(curve.x, curve.y, color=colour, linestyle=style, marker=_MARKS[place % len(_MARKS)], markersize=4,
            label=curve.name)  # fmt: skip
    if curve.mark is not None and curve.mark in curve.x:
        score = curve.y[curve.x.index(curve.mark)]
        ax.plot([curve.mark], [score], color=INK, marker="o", markersize=9, fillstyle="none", linestyle="none")
        ax.annotate(f"K = {curve.mark:g}", (curve.mark, score), textcoords="offset points", xytext=(6, 6))


def _bars(figure: Bars, lines: Sequence[Line], data: str) -> Callable[[Canvas], None]:
    """Return the painter of grouped bars: a group for each line, a bar for each column, the paper's number a dash."""

    def paint(canvas: Canvas) -> None:
        ax = canvas.subplots()
        ax.set_axisbelow(True)
        width = 0.8 / len(figure.columns)
        for place, column in enumerate(figure.columns):
            cells = [next(cell for cell in one.cells if cell.column == column) for one in lines]
            x = [group + (place - (len(figure.columns) - 1) / 2) * width for group in range(len(lines))]
            here = [(at, cell) for at, cell in zip(x, cells, strict=True) if cell.mean is not None]
            colour = PALETTE[place % len(PALETTE)]
            ax.bar([at for at, _ in here], [cell.mean or 0.0 for _, cell in here], width * 0.92, color=colour,
                   label=column)  # fmt: skip
            spread = [(at, cell.mean or 0.0, cell.std) for at, cell in here if cell.std is not None]
            ax.errorbar([at for at, _, _ in spread], [mean for _, mean, _ in spread], [std for _, _, std in spread],
                        fmt="none", ecolor=INK, capsize=2)  # fmt: skip
            paper = [(at, cell.paper) for at, cell in zip(x, cells, strict=True) if cell.paper is not None]
            if paper:
                label = f"paper, {data}" if place == 0 else None
                ax.plot(*zip(*paper, strict=True), color=INK, marker="_", markersize=14, linestyle="none", label=label)
        ax.set_xticks(range(len(lines)), [one.label for one in lines], rotation=20 if len(lines) > 3 else 0,
                      ha="right" if len(lines) > 3 else "center")  # fmt: skip
        _legend(canvas, ax, len(figure.columns) + 1)

    return paint


def _legend(canvas: Canvas, ax: Axes, entries: int) -> None:
    handles, labels = ax.get_legend_handles_labels()
    if entries > 1 and handles:
        canvas.legend(handles, labels, loc="outside lower left", frameon=False, ncols=min(len(labels), 3), fontsize=8)


def _wide(lines: Sequence[Line], figure: Bars) -> tuple[float, float]:
    return max(4.5, 0.9 + len(lines) * (0.5 + 0.3 * len(figure.columns))), 3.4


def _alt(names: Sequence[str], lines: Sequence[Line]) -> str:
    said = [f"{one.label}: " + ", ".join(f"{cell.column} {cell.text()}" for cell in one.cells if cell.column in names)
            for one in lines]  # fmt: skip
    return f"Bars. {'; '.join(said)}"
