"""Figures that no table holds: the loss around test images, and their features in two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from robustcl import measures
from robustcl.evaluate.classifier import LOGITS
from robustcl.report.canvas import PALETTE, draw
from robustcl.study import finished
from robustcl.study.drawings import Landscape, Map
from robustcl.study.finished import Finished
from robustcl.study.grid import Planned
from robustcl.study.places import evaluation

_LEVELS = 14


def draw_pictures(name: str, figure: Landscape | Map, runs: Sequence[tuple[Planned, Path]]) -> Markup:
    """Draw a panel for each run, by the classifier of its first protocol and route; measured once and then kept."""
    found = [(run.label, _measured(figure, run, folder)) for run, folder in runs]
    return _landscapes(name, found) if isinstance(figure, Landscape) else _maps(name, found)


def _measured(figure: Landscape | Map, run: Planned, folder: Path) -> dict[str, Any]:
    plan, route = evaluation(run.composition, None, None, "")
    question = {**figure.model_dump(exclude={"caption"}), "protocol": plan.table.use, "route": route}
    found = finished.read_known(folder, question)
    if found:
        return found
    opened = finished.open_finished(folder, plan, route)
    answer = _landscape(figure, opened) if isinstance(figure, Landscape) else _map(figure, opened)
    return finished.keep(folder, question, answer)


def _landscape(figure: Landscape, run: Finished) -> dict[str, Any]:
    """Return ``axis`` in radii of the threat, and ``loss``: along the gradient by row, along random signs by column."""
    index = run.index[: figure.images]

    def classify(x: Tensor) -> Tensor:
        return run.classifier.embed(x, LOGITS).logits.float()

    with run.classifier.attacked():
        found = measures.input_landscape(
            classify, run.test.fetch(index), run.test.labels[index], run.rng.child("landscape").for_rows(index),
            radius=float(run.ball.eps) * figure.times, points=figure.points, block=run.block,
        )  # fmt: skip
    axis = found.axis / float(run.ball.eps)
    return {"axis": axis.tolist(), "loss": found.mean.tolist(), "n": len(index)}


def _map(figure: Map, run: Finished) -> dict[str, Any]:
    index = run.index[: figure.images]
    places = measures.t_sne(run.classifier.features(run.test.fetch(index)))
    return {"places": places.tolist(), "label": run.test.labels[index].tolist(), "classes": list(run.splits.classes)}


def _landscapes(name: str, found: Sequence[tuple[str, dict[str, Any]]]) -> Markup:
    """Draw contours on one scale of colour, so that levels can be compared across panels."""
    low = min(np.min(one["loss"]) for _, one in found)
    high = max(np.max(one["loss"]) for _, one in found)
    levels = MaxNLocator(_LEVELS).tick_values(low, max(high, low + 1e-6))

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots(1, len(found), squeeze=False, sharey=True)[0]
        for ax, (label, one) in zip(axes, found, strict=True):
            surface = ax.contourf(one["axis"], one["axis"], np.transpose(one["loss"]), levels=levels, cmap="viridis")
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


def _middle(loss: list[list[float]]) -> float:
    return loss[len(loss) // 2][len(loss) // 2]


def _maps(name: str, found: Sequence[tuple[str, dict[str, Any]]]) -> Markup:
    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots(1, len(found), squeeze=False)[0]
        for ax, (label, one) in zip(axes, found, strict=True):
            places, labels = np.array(one["places"]), np.array(one["label"])
            for number, title in enumerate(one["classes"]):
                mine = places[labels == number]
                ax.plot(mine[:, 0], mine[:, 1], color=PALETTE[number % len(PALETTE)], linestyle="none",
                        marker="os^DvP"[number // len(PALETTE) % 6], markersize=3, label=title)  # fmt: skip
            ax.set_title(label, fontsize=9.5)
            ax.set_xticks([])
            ax.set_yticks([])
        if len(found[0][1]["classes"]) <= 2 * len(PALETTE):
            handles, titles = axes[0].get_legend_handles_labels()
            canvas.legend(handles, titles, loc="outside lower left", frameon=False, ncols=10, fontsize=8)

    said = ", ".join(f"{label}: {len(one['label'])} images" for label, one in found)
    return draw(name, f"t-SNE of features, coloured by class. {said}", (3.2 * len(found), 3.6), paint)
