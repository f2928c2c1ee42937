"""Panels of curves side by side, one legend below them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from robustcl.report.canvas import DASHES, INK, PALETTE, draw
from robustcl.study.columns import Curve

_MARKS = ("o", "s", "^", "D", "v", "P")


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. ``names``: what stands at x = 0, 1, ... where the values are names; marks are not joined then."""

    title: str
    curves: Sequence[Curve]
    x: str
    y: str = ""
    names: Sequence[str] = ()


def draw_panels(name: str, panels: Sequence[Panel], paper: str = "") -> Markup:
    """Draw panels beside each other; ``paper`` is the data set of the points that the paper reports."""
    labels = list(dict.fromkeys(curve.name for panel in panels for curve in panel.curves))

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots(1, len(panels), squeeze=False, width_ratios=[_width(panel) for panel in panels])[0]
        for ax, panel in zip(axes, panels, strict=True):
            for curve in panel.curves:
                _line(ax, curve, labels.index(curve.name), joined=not panel.names)
            ax.set_title(panel.title, fontsize=9.5)
            ax.set_xlabel(panel.x)
            ax.set_ylabel(panel.y)
            if panel.names:
                ax.set_xticks(range(len(panel.names)), panel.names, rotation=40, ha="right")
            else:
                whole = all(float(value).is_integer() for curve in panel.curves for value in curve.x)
                ax.xaxis.set_major_locator(MaxNLocator(6, integer=whole))
            ax.yaxis.set_major_locator(MaxNLocator(5))
        if any(curve.paper for panel in panels for curve in panel.curves):
            axes[0].plot([], [], color=INK, marker="_", markersize=14, linestyle="none", label=f"paper, {paper}")
        legend(canvas, axes[0], len(labels))

    size = sum(map(_width, panels)) + 0.6, 3.0 + 0.22 * len(labels) + (0.6 if any(p.names for p in panels) else 0.0)
    return draw(name, f"Curves along {', '.join(dict.fromkeys(p.x for p in panels))}. {_said(panels)}", size, paint)


def legend(canvas: Canvas, ax: Axes, entries: int) -> None:
    """Put the legend of ``ax`` below everything, where there is more than one entry."""
    handles, labels = ax.get_legend_handles_labels()
    if entries > 1 and handles:
        canvas.legend(handles, labels, loc="outside lower left", frameon=False, ncols=min(len(labels), 3), fontsize=8)


def _width(panel: Panel) -> float:
    return max(3.6, 0.42 * len(panel.names))


def _said(panels: Sequence[Panel]) -> str:
    return "; ".join(f"{panel.title}: " + ", ".join(
        f"{curve.name} from {curve.y[0]:.3g} to {curve.y[-1]:.3g}" for curve in panel.curves if curve.y)
        for panel in panels)  # fmt: skip


def _line(ax: Axes, curve: Curve, place: int, *, joined: bool) -> None:
    colour, dash = PALETTE[place % len(PALETTE)], DASHES[place // len(PALETTE) % len(DASHES)]
    style = (0, tuple(map(float, dash.split()))) if dash else "-"
    ax.plot(curve.x, curve.y, color=colour, linestyle=style if joined else "none", marker=_MARKS[place % len(_MARKS)],
            markersize=4 if joined else 6, label=curve.name)  # fmt: skip
    if curve.paper:
        ax.plot(*zip(*curve.paper, strict=True), color=colour, marker="_", markersize=14, linestyle="none")
    if curve.mark is not None and curve.mark in curve.x:
        score = curve.y[curve.x.index(curve.mark)]
        ax.plot([curve.mark], [score], color=INK, marker="o", markersize=9, fillstyle="none", linestyle="none")
        ax.annotate(f"K = {curve.mark:g}", (curve.mark, score), textcoords="offset points", xytext=(6, 6))
