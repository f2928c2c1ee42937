"""Bars of a study: a group for each line of its table, a bar for each column; lying where their names are long."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from robustcl.report.canvas import INK, PALETTE, Sketch
from robustcl.study.figures import panels
from robustcl.study.figures.panels import LETTER, STYLE, WIDTH
from robustcl.study.tables.table import StudyCell, StudyLine

_MOST = 4
"""Columns whose bars stand beside each other; more have a panel each."""
_LONG = 24
"""Letters of a name that stands beside lying bars; a longer one is broken."""


def draw_bars(name: str, columns: Sequence[str], lines: Sequence[StudyLine], data: str) -> Sketch:
    """Draw the numbers of some columns, error bars on them, and the paper's as dashes where they are of the same data.

    Numbers of one unit share an axis; more than a few columns, or several units, have a panel each.
    """
    groups = _panels(columns, lines)
    alt = "; ".join(f"{one.label}: " + ", ".join(f"{name} {one.cell(name).text()}" for name in columns)
                    for one in lines)  # fmt: skip
    lying = len(groups) > 1 or _is_long(lines, len(columns))
    beside = min(len(groups), 3)
    rows = math.ceil(len(groups) / beside)
    entries = [*(columns if len(groups) == 1 else ()), *(["paper"] if _is_reported(columns, lines) else [])]
    tall = 0.35 + len(lines) * (0.07 + 0.15 * len(groups[0])) if lying else 2.2

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots(rows, beside, squeeze=False, sharey=lying)
        for ax, group in zip(axes.ravel(), groups, strict=False):
            _paint(ax, group, lines, data, lying=lying, alone=len(groups) > 1)
        for ax in axes.ravel()[len(groups) :]:
            ax.remove()
        panels.legend(canvas, axes[0, 0], entries)

    wide = WIDTH if lying or len(lines) * len(columns) > 6 else 3.4
    size = (wide, rows * max(tall, 1.0) + panels.legend_height(entries, wide) + 0.25)
    return Sketch(name, f"Bars. {alt}", size, paint, STYLE)


def _panels(columns: Sequence[str], lines: Sequence[StudyLine]) -> list[list[str]]:
    units = {column: lines[0].cell(column).percent for column in columns}
    if len(columns) <= _MOST and len(set(units.values())) == 1:
        return [list(columns)]
    return [[column] for column in columns]


def _is_long(lines: Sequence[StudyLine], columns: int) -> bool:
    """Say whether the names of the lines would not stand below their groups."""
    room = (WIDTH - 0.6) / len(lines) if len(lines) * columns > 6 else 2.8 / len(lines)
    return any(LETTER * max(map(len, _broken(line.label, room))) > room for line in lines)


def _broken(label: str, room: float) -> list[str]:
    return textwrap.wrap(label, max(6, int(room / LETTER)), break_long_words=False) or [""]


def _paint(
    ax: Axes, columns: Sequence[str], lines: Sequence[StudyLine], data: str, *, lying: bool, alone: bool
) -> None:
    ax.set_axisbelow(True)
    width = 0.8 / len(columns)
    for place, column in enumerate(columns):
        cells = [line.cell(column) for line in lines]
        at = [group + (place - (len(columns) - 1) / 2) * width for group in range(len(lines))]
        _bars(ax, list(zip(at, cells, strict=True)), width, PALETTE[place % len(PALETTE)], column, lying=lying)
        paper = [(x, cell.paper) for x, cell, line in zip(at, cells, lines, strict=True)
                 if cell.paper is not None and line.own]  # fmt: skip
        if paper:
            label = (
                f"paper, {data}" if not any(h == f"paper, {data}" for h in ax.get_legend_handles_labels()[1]) else None
            )
            x, y = zip(*paper, strict=True)
            ax.plot(*((y, x) if lying else (x, y)), color=INK, marker="|" if lying else "_", markersize=9,
                    linestyle="none", label=label)  # fmt: skip
    percent = lines[0].cell(columns[0]).percent
    label = f"{columns[0]}{' (%)' if percent else ''}" if alone or len(columns) == 1 else "percent" if percent else ""
    if lying:
        names = ["\n".join(textwrap.wrap(line.label, _LONG)) for line in lines]
        ax.set_yticks(range(len(lines)), names)
        ax.set_ylim(len(lines) - 0.5, -0.5)
        ax.grid(visible=True, axis="x")
        ax.grid(visible=False, axis="y")
        ax.set_xlabel(label)
    else:
        room = (ax.figure.get_figwidth() - 0.6) / len(lines)  # type: ignore[union-attr]
        ax.set_xticks(range(len(lines)), ["\n".join(_broken(line.label, room)) for line in lines])
        ax.set_ylabel(label)


def _bars(
    ax: Axes, points: Sequence[tuple[float, StudyCell]], width: float, colour: str, label: str, *, lying: bool
) -> None:
    found = [(at, cell.mean, cell.reach()) for at, cell in points if cell.mean is not None]
    at, means = [x for x, _, _ in found], [mean for _, mean, _ in found]
    (ax.barh if lying else ax.bar)(at, means, width * 0.92, color=colour, label=label)
    sure = [(x, mean, reach) for x, mean, reach in found if any(reach)]
    if sure:
        at, means = [x for x, _, _ in sure], [mean for _, mean, _ in sure]
        reach = [[one[side] for _, _, one in sure] for side in (0, 1)]
        x, y = (means, at) if lying else (at, means)
        sides: tuple[Any, Any] = (None, reach) if lying else (reach, None)
        ax.errorbar(x, y, *sides, fmt="none", ecolor=INK, elinewidth=0.8, capsize=2)


def _is_reported(columns: Sequence[str], lines: Sequence[StudyLine]) -> bool:
    return any(line.own and line.cell(column).paper is not None for line in lines for column in columns)
