"""Figures that no table holds: the loss around test images, and their features in two dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from robustcl.analysis.measure import kept
from robustcl.analysis.measure.question import ImageQuestion, identify_run
from robustcl.data.promises import class_names
from robustcl.errors import UsageError
from robustcl.recipe import Use
from robustcl.report.canvas import PALETTE, draw
from robustcl.study import measures
from robustcl.study.drawings import Landscape, Map
from robustcl.study.grid import Planned
from robustcl.study.places import evaluation

_LEVELS = 14

Arrays = Mapping[str, NDArray[Any]]


def draw_pictures(name: str, figure: Landscape | Map, runs: Sequence[tuple[Planned, Path]]) -> Markup:
    """Draw a panel for each run, by the classifier of its first protocol and route; measured once and then kept."""
    found = [(run.label, _measured(figure, run, folder)) for run, folder in runs]
    if isinstance(figure, Landscape):
        return _landscapes(name, found, figure.times)
    return _maps(name, found, class_names(runs[0][0].composition.dataset.plugin))


def _measured(figure: Landscape | Map, run: Planned, folder: Path) -> Arrays:
    """Return the arrays of a figure: the loss along the gradient by row, along random signs by column; or places."""
    judged = evaluation(run.composition, None, None, "")
    name, options = "t-sne", {"images": figure.images}
    if isinstance(figure, Landscape):
        name, options = "input-landscape", figure.model_dump(include={"images", "points", "times"})
    first = min(figure.images, judged[0].table.samples or figure.images)
    question = ImageQuestion(attack=Use(use="none"), ball=run.composition.ball, first=first, options={name: options})
    composition = run.composition
    entry = kept.find(folder, question.table(identify_run(folder, composition, *judged), composition.parts.owners))
    found = kept.find_arrays(folder, entry, name) if entry is not None else {}
    if found:
        return found
    fresh = measures.measure_run(folder, composition, judged, question, [name])
    if reason := fresh["refused"].get(name):
        raise UsageError(f"{folder}: {reason}")
    return kept.find_arrays(folder, fresh, name)


def _landscapes(name: str, found: Sequence[tuple[str, Arrays]], times: float) -> Markup:
    """Draw contours on one scale of colour, so that levels can be compared across panels; axes are in radii."""
    low = min(np.min(one["loss"]) for _, one in found)
    high = max(np.max(one["loss"]) for _, one in found)
    levels = MaxNLocator(_LEVELS).tick_values(low, max(high, low + 1e-6))

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots(1, len(found), squeeze=False, sharey=True)[0]
        for ax, (label, one) in zip(axes, found, strict=True):
            axis = times * one["axis"] / one["axis"][-1]
            surface = ax.contourf(axis, axis, np.transpose(one["loss"]), levels=levels, cmap="viridis")
            ax.plot([0.0], [0.0], color="white", marker="+", markersize=8)
            ax.set_title(label, fontsize=9.5)
            ax.set_xlabel("along the gradient's sign, eps")
            ax.set_aspect("equal")
            ax.grid(False)
        axes[0].set_ylabel("along random signs, eps")
        canvas.colorbar(surface, ax=list(axes), label="mean loss", shrink=0.8)

    said = "; ".join(f"{label}: {_middle(one['loss']):.3g} at the images, {np.max(one['loss']):.3g} at most"
                     for label, one in found)  # fmt: skip
    return draw(name, f"Mean loss around test images. {said}", (3.0 * len(found) + 1.0, 3.4), paint)


def _middle(loss: NDArray[Any]) -> float:
    return float(loss[len(loss) // 2][len(loss) // 2])


def _maps(name: str, found: Sequence[tuple[str, Arrays]], classes: Sequence[str]) -> Markup:
    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots(1, len(found), squeeze=False)[0]
        for ax, (label, one) in zip(axes, found, strict=True):
            places, labels = one["clean"], one["label"]
            for number, title in enumerate(classes):
                mine = places[labels == number]
                ax.plot(mine[:, 0], mine[:, 1], color=PALETTE[number % len(PALETTE)], linestyle="none",
                        marker="os^DvP"[number // len(PALETTE) % 6], markersize=3, label=title)  # fmt: skip
            ax.set_title(label, fontsize=9.5)
            ax.set_xticks([])
            ax.set_yticks([])
        if len(classes) <= 2 * len(PALETTE):
            handles, titles = axes[0].get_legend_handles_labels()
            canvas.legend(handles, titles, loc="outside lower left", frameon=False, ncols=10, fontsize=8)

    said = ", ".join(f"{label}: {len(one['label'])} images" for label, one in found)
    return draw(name, f"t-SNE of features, coloured by class. {said}", (3.2 * len(found), 3.6), paint)
