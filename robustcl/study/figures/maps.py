"""Features of test images in two dimensions, a panel for each run; raised by the doubt of predictions where asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Canvas

from robustcl.report.canvas import INK, PALETTE, Sketch
from robustcl.study.figures.components import Arrays
from robustcl.study.figures.panels import STYLE, broken, squares, squares_size
from robustcl.study.grammar.figures import Map

_COLUMNS = 5
"""Classes beside each other in the legend."""


def draw_maps(name: str, figure: Map, found: Sequence[tuple[str, Arrays]], classes: Sequence[str]) -> Sketch:
    """Draw the maps of runs beside each other: a colour for each class, black triangles for what the attack moved.

    ``found``: label, and arrays as the measure t-sne keeps them. Below each map stands the same one with the entropy of
    the prediction as its height, where the figure asks for it; all have one scale.
    """
    moved, high = figure.attack is not None, 2 if figure.entropy else 1
    top = max(float(max(one["clean_entropy"].max(), one["attacked_entropy"].max(), 1e-6)) for _, one in found)

    def paint(canvas: Canvas) -> None:
        for flat, (label, one) in zip(squares(canvas, len(found), high), found, strict=True):
            _paint(flat, one, classes, moved=moved)
            flat.set_title(broken(label))
            if figure.entropy:
                rows, beside, place, _ = flat.get_subplotspec().get_geometry()  # type: ignore[union-attr]
                raised = canvas.add_subplot(rows, beside, place + beside + 1, projection="3d")
                _paint(raised, one, classes, moved=moved, top=top)
        if len(classes) <= 2 * len(PALETTE):
            handles, titles = canvas.axes[0].get_legend_handles_labels()
            canvas.legend(handles, titles, loc="outside lower left", frameon=False, ncols=_COLUMNS, columnspacing=1.0,
                          handletextpad=0.1)  # fmt: skip

    said = ", ".join(f"{label}: {_said(one, moved=moved)}" for label, one in found)
    shown = len(classes) + 1 if len(classes) <= 2 * len(PALETTE) else 0
    size = squares_size(len(found), 0.18 * math.ceil(shown / _COLUMNS) + 0.1, high)
    return Sketch(name, f"t-SNE of features, coloured by class. {said}", size, paint, STYLE)


def _paint(ax: Any, one: Arrays, classes: Sequence[str], *, moved: bool, top: float | None = None) -> None:
    """Paint one map; ``top`` is the end of the scale of entropies, where they are the height."""
    places, labels = one["clean"], one["label"]
    for number, title in enumerate(classes):
        mine = labels == number
        where = [places[mine, 0], places[mine, 1], *([one["clean_entropy"][mine]] if top else [])]
        ax.plot(*where, color=PALETTE[number % len(PALETTE)], linestyle="none",
                marker="os^DvP"[number // len(PALETTE) % 6], markersize=3, label=title)  # fmt: skip
    if moved:
        where = [*one["attacked"].T, *([one["attacked_entropy"]] if top else [])]
        ax.plot(*where, color=INK, linestyle="none", marker="^", markersize=4, label="attacked")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_xlabel("t-SNE 1")
    ax.set_ylabel("t-SNE 2")
    if top:
        ax.set_zlim(0.0, top)
        ax.set_zlabel("entropy (nats)")


def _said(one: Arrays, *, moved: bool) -> str:
    clean = f"{len(one['label'])} images, entropy {np.mean(one['clean_entropy']):.3g}"
    there = f" and {len(one['attacked'])} attacked, entropy {np.mean(one['attacked_entropy']):.3g}"
    return f"{clean}{there if moved else ''}"
