"""Tables of distances between classes as heat maps: how near the classes of a representation lie to each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from robustcl.report.canvas import INK, Sketch
from robustcl.study.figures.panels import STYLE, broken, squares, squares_size

Table = tuple[str, NDArray[Any], NDArray[Any]]
"""Whose it is, the distances (L, L), and the labels of its rows and columns (L,)."""

_COLOURS = "Blues"
_BESIDE = 2
"""Panels beside each other: of more the numbers would not be read."""
_WRITTEN = 12
"""So many classes have their numbers and names written out: more would not be read."""


def draw_class_tables(name: str, tables: Sequence[Table], classes: Sequence[str]) -> Sketch:
    """Draw a panel for each table on one scale of colour, so that distances can be compared across panels."""
    known = np.concatenate([table[np.isfinite(table)] for _, table, _ in tables])
    scale = Normalize(0.0, max(float(known.max(initial=0.0)), 1e-6))

    def paint(canvas: Canvas) -> None:
        axes = squares(canvas, len(tables), most=_BESIDE)
        for ax, (label, table, labels) in zip(axes, tables, strict=True):
            surface = ax.pcolormesh(table, cmap=_COLOURS, norm=scale)
            _title_cells(ax, table, [classes[place] for place in labels], scale)
            ax.set_title(broken(label))
            ax.set_xlabel("class")
            ax.set_aspect("equal")
            ax.invert_yaxis()
            ax.grid(visible=False)
        for ax in axes[::_BESIDE]:
            ax.set_ylabel("class")
        canvas.colorbar(surface, ax=axes, label="mean cosine distance", shrink=0.8)

    said = "; ".join(_say(*table, classes) for table in tables)
    alt = f"Mean cosine distance of the features of each two classes. {said}"
    return Sketch(name, alt, squares_size(len(tables), 0.5, most=_BESIDE), paint, STYLE)


def _title_cells(ax: Axes, table: NDArray[Any], names: Sequence[str], scale: Normalize) -> None:
    if len(names) > _WRITTEN:
        ax.set_xticks([])
        ax.set_yticks([])
        return
    places = np.arange(len(names)) + 0.5
    ax.set_xticks(places, names, rotation=40 if any(len(name) > 2 for name in names) else 0)
    ax.set_yticks(places, names)
    for (row, column), value in np.ndenumerate(table):
        if np.isfinite(value):
            colour = "white" if scale(value) > 0.6 else INK
            ax.text(column + 0.5, row + 0.5, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=5.5)


def _say(label: str, table: NDArray[Any], labels: NDArray[Any], classes: Sequence[str]) -> str:
    """Return a panel in words: how wide classes are, how far apart, and which two lie nearest."""
    apart = np.where(np.eye(len(table), dtype=bool), np.nan, table)
    one, other = np.unravel_index(np.nanargmin(apart), apart.shape)
    near = f"{classes[labels[one]]} and {classes[labels[other]]}"
    within, between = np.nanmean(np.diag(table)), np.nanmean(apart)
    return (
        f"{label}: {within:.3g} within a class on average, {between:.3g} between two, "
        f"{apart[one, other]:.3g} between the nearest, {near}"
    )
