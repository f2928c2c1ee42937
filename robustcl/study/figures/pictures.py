"""Figures that no table holds: the loss around test images and around the weights, and features in two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from robustcl.analysis.measure import kept
from robustcl.analysis.measure.question import ImageQuestion, identify_run
from robustcl.data.promises import class_names
from robustcl.errors import UsageError
from robustcl.recipe import Use
from robustcl.report.canvas import Sketch
from robustcl.study.figures.class_table import draw_class_tables
from robustcl.study.figures.components import Arrays, draw_components
from robustcl.study.figures.maps import draw_maps
from robustcl.study.figures.panels import POINTS, STYLE, Panel, broken, draw_panels, squares, squares_size
from robustcl.study.grammar.figures import ClassTable, Components, Landscape, Map, Picture, WeightLandscapeFigure
from robustcl.study.numbers import questions
from robustcl.study.numbers.columns import Curve
from robustcl.study.plan.places import evaluation
from robustcl.study.plan.planned import Planned

_LEVELS = 14


def draw_pictures(name: str, figure: Picture, runs: Sequence[tuple[Planned, Path]]) -> Sketch:
    """Draw what is measured of each run, by the classifier of its first protocol and route; once, and then kept."""
    found = [(run.label, _measured(figure, run, folder)) for run, folder in runs]
    if isinstance(figure, Landscape):
        return _landscapes(name, found, figure.times)
    if isinstance(figure, WeightLandscapeFigure):
        return _weight_landscapes(name, found, figure.attack.use)
    if isinstance(figure, Components):
        return draw_components(name, found)
    classes = class_names(runs[0][0].composition.dataset.plugin)
    if isinstance(figure, ClassTable):
        return draw_class_tables(name, [(label, one["clean"], one["classes"]) for label, one in found], classes)
    return draw_maps(name, figure, found, classes)


def _measured(figure: Picture, run: Planned, folder: Path) -> Arrays:
    """Return the arrays of a figure, under the names that its measure has for them."""
    judged = evaluation(run.composition, None, None, "")
    name, attack, options = _asked(figure)
    most = figure.images if isinstance(figure, Landscape | WeightLandscapeFigure | Map) else None
    samples = judged[0].table.samples
    first = samples if most is None else min(most, samples or most)
    question = ImageQuestion(
        attack=attack, ball=run.composition.ball, first=first, options={name: options} if options else {}
    )
    composition = run.composition
    entry = kept.find(folder, question.table(identify_run(folder, composition, *judged), composition.parts.owners))
    found = kept.find_arrays(folder, entry, name) if entry is not None else {}
    if found:
        return found
    fresh = questions.measure_run(folder, composition, judged, question, [name])
    if reason := fresh["refused"].get(name):
        raise UsageError(f"{folder}: {reason}")
    return kept.find_arrays(folder, fresh, name)


def _asked(figure: Picture) -> tuple[str, Use, dict[str, Any]]:
    """Return which measure a figure shows, of images moved by what, and with what options."""
    still = Use(use="none")
    if isinstance(figure, Landscape):
        return "input-landscape", still, figure.model_dump(include={"images", "points", "times"})
    if isinstance(figure, WeightLandscapeFigure):
        return "weight-landscape", figure.attack, figure.model_dump(include={"images", "points", "radius"})
    if isinstance(figure, Components):
        return "components", still, figure.model_dump(include={"images", "count", "steps"})
    if isinstance(figure, ClassTable):
        return "class-distances", still, {}
    if figure.attack is not None:
        return "t-sne", figure.attack, figure.model_dump(include={"images", "attacked"})
    return "t-sne", still, {"images": figure.images}


def _landscapes(name: str, found: Sequence[tuple[str, Arrays]], times: float) -> Sketch:
    """Draw contours on one scale of colour, so that levels can be compared across panels; axes are in radii."""
    low = min(np.min(one["loss"]) for _, one in found)
    high = max(np.max(one["loss"]) for _, one in found)
    levels = MaxNLocator(_LEVELS).tick_values(low, max(high, low + 1e-6))

    def paint(canvas: Canvas) -> None:
        axes = squares(canvas, len(found))
        for ax, (label, one) in zip(axes, found, strict=True):
            axis = times * one["axis"] / one["axis"][-1]
            surface = ax.contourf(axis, axis, np.transpose(one["loss"]), levels=levels, cmap="viridis")
            ax.plot([0.0], [0.0], color="white", marker="+", markersize=8)
            ax.set_title(broken(label))
            ax.set_aspect("equal")
            ax.grid(False)
        canvas.supxlabel("along the gradient's sign (radii eps)", fontsize=POINTS)
        canvas.supylabel("along random signs (radii eps)", fontsize=POINTS)
        canvas.colorbar(surface, ax=axes, label="mean loss", shrink=0.8)

    said = "; ".join(f"{label}: {_middle(one['loss']):.3g} at the images, {np.max(one['loss']):.3g} at most"
                     for label, one in found)  # fmt: skip
    return Sketch(name, f"Mean loss around test images. {said}", squares_size(len(found), 1.0), paint, STYLE)


def _weight_landscapes(name: str, found: Sequence[tuple[str, Arrays]], attack: str) -> Sketch:
    """Draw a panel for clean and one for attacked images, a curve for each run."""
    kinds = {"clean": "clean images", "attacked": f"images under {attack}"}
    shown = [
        Panel(title, [Curve(label, tuple(one["axis"].tolist()), tuple(one[kind].tolist())) for label, one in found],
              "distance of the weights, in their lengths", "mean loss")
        for kind, title in kinds.items()
    ]  # fmt: skip
    return draw_panels(name, shown)


def _middle(loss: NDArray[Any]) -> float:
    return float(loss[len(loss) // 2][len(loss) // 2])
