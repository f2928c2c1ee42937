"""Panels of curves beside and below each other, one legend under them, in the one text size of a study's figures."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from robustcl.report.canvas import DASHES, INK, PALETTE, Sketch
from robustcl.study.numbers.columns import Curve

WIDTH = 5.5
"""Inches: the text of a paper in one column. No figure is wider, so none is made smaller with its letters."""

POINTS = 8.0
"""The size of all letters of all figures, at their own width."""

LETTER = 0.065
"""Inches that a letter of this size takes, about."""

SIZES = ("font.size", "axes.titlesize", "axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize")
STYLE: Mapping[Any, Any] = dict.fromkeys(SIZES, POINTS) | {"lines.linewidth": 1.3}

_MARKS = ("o", "s", "^", "D", "v", "P")
_BESIDE = 3


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. ``names``: what stands at x = 0, 1, ... where the values are names; marks are not joined then."""

    title: str
    curves: Sequence[Curve]
    x: str
    y: str = ""
    names: Sequence[str] = ()


def draw_panels(name: str, panels: Sequence[Panel], paper: str = "") -> Sketch:
    """Draw panels, up to three beside each other; ``paper`` is the data set of the points that the paper reports."""
    labels = list(dict.fromkeys(curve.name for panel in panels for curve in panel.curves if curve.y or curve.paper))
    names = max((len(panel.names) for panel in panels), default=0)
    beside = max(1, min(len(panels), _BESIDE if names < 5 else 2 if names < 9 else 1))
    rows = math.ceil(len(panels) / beside)

    def paint(canvas: Canvas) -> None:
        axes = list(canvas.subplots(rows, beside, squeeze=False).ravel())
        for ax, panel in zip(axes, panels, strict=False):
            _panel(ax, panel, labels)
        for ax in axes[len(panels) :]:
            ax.remove()
        first = axes[0]
        if any(curve.paper for panel in panels for curve in panel.curves):
            first.plot([], [], color=INK, marker="_", markersize=10, linestyle="none", label=f"paper, {paper}")
        legend(canvas, first, labels)

    tall = 1.9 + (0.5 if names else 0.0)
    wide = WIDTH if beside > 1 else min(WIDTH, max(3.4, 0.42 * names))
    size = wide, rows * tall + legend_height(labels, wide) + 0.1
    said = f"Curves along {', '.join(dict.fromkeys(p.x for p in panels))}. {_said(panels)}"
    return Sketch(name, said, size, paint, STYLE)


def legend(canvas: Canvas, ax: Axes, entries: Sequence[str]) -> None:
    """Put the legend of ``ax`` below everything, where there is more than one entry."""
    handles, labels = ax.get_legend_handles_labels()
    if (len(entries) > 1 or len(labels) > 1) and handles:
        wide = canvas.get_figwidth()
        shown = ["\n".join(_lines(label, wide)) for label in labels]
        canvas.legend(handles, shown, loc="outside lower left", frameon=False, ncols=_columns(labels, wide))


def legend_height(entries: Sequence[str], width: float = WIDTH) -> float:
    """Return how many inches a legend takes."""
    if len(entries) < 2:
        return 0.0
    high = max(len(_lines(entry, width)) for entry in entries)
    return 0.06 + 0.14 * high * math.ceil(len(entries) / _columns(entries, width))


def reach_of(curve: Curve) -> list[list[float]]:
    """Return the error bars of a curve as matplotlib takes them: all that go down, all that go up."""
    return [[reach[side] for reach in curve.reach] for side in (0, 1)]


def squares(canvas: Canvas, count: int, high: int = 1, most: int = _BESIDE) -> list[Axes]:
    """Return axes for so many square panels, at most ``most`` beside each other; ``high`` rows are left for each."""
    beside = min(count, most)
    rows = high * math.ceil(count / beside)
    return [canvas.add_subplot(rows, beside, high * (place // beside) * beside + place % beside + 1)
            for place in range(count)]  # fmt: skip


def squares_size(count: int, more: float, high: int = 1, most: int = _BESIDE) -> tuple[float, float]:
    """Return width and height in inches of square panels, with ``more`` below them."""
    beside = min(count, most)
    wide = WIDTH if beside > 1 else 3.4
    return wide, high * math.ceil(count / beside) * (min(wide / beside, 2.6) + 0.1) + more


def broken(label: str) -> str:
    """Return a title in lines that a panel has room for."""
    return "\n".join(textwrap.wrap(label, 26))


def _lines(label: str, width: float) -> list[str]:
    return textwrap.wrap(label, int((width - 0.6) / LETTER)) or [""]


def _columns(labels: Sequence[str], width: float) -> int:
    wide = LETTER * max(map(len, labels), default=0) + 0.55
    return max(1, min(len(labels), int(width / wide)))


def _panel(ax: Axes, panel: Panel, labels: Sequence[str]) -> None:
    for curve in (one for one in panel.curves if one.name in labels):
        _line(ax, curve, labels.index(curve.name), joined=not panel.names)
    ax.set_title(panel.title)
    ax.set_xlabel(panel.x)
    ax.set_ylabel(panel.y)
    if panel.names:
        ax.set_xticks(range(len(panel.names)), panel.names, rotation=40, ha="right", rotation_mode="anchor")
    else:
        whole = all(float(value).is_integer() for curve in panel.curves for value in curve.x)
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=whole))
    ax.yaxis.set_major_locator(MaxNLocator(5))


def _said(panels: Sequence[Panel]) -> str:
    return "; ".join(f"{panel.title or panel.y}: " + ", ".join(
        f"{curve.name} from {curve.y[0]:.3g} to {curve.y[-1]:.3g}" for curve in panel.curves if curve.y)
        for panel in panels)  # fmt: skip


def _line(ax: Axes, curve: Curve, place: int, *, joined: bool) -> None:
    colour, dash = PALETTE[place % len(PALETTE)], DASHES[place // len(PALETTE) % len(DASHES)]
    style = (0, tuple(map(float, dash.split()))) if dash else "-"
    ax.plot(curve.x, curve.y, color=colour, linestyle=style if joined else "none", marker=_MARKS[place % len(_MARKS)],
            markersize=3.5 if joined else 5, label=curve.name)  # fmt: skip
    if any(down or up for down, up in curve.reach):
        ax.errorbar(curve.x, curve.y, reach_of(curve), fmt="none", ecolor=colour, elinewidth=0.8, capsize=2)
    if curve.paper:
        ax.plot(*zip(*curve.paper, strict=True), color=colour, marker="_", markersize=10, linestyle="none")
    if curve.mark is not None and curve.mark in curve.x:
        score = curve.y[curve.x.index(curve.mark)]
        ax.plot([curve.mark], [score], color=INK, marker="o", markersize=8, fillstyle="none", linestyle="none")
        ax.annotate(f"K = {curve.mark:g}", (curve.mark, score), textcoords="offset points", xytext=(5, 5))
