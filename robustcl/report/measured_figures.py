"""Figures of a representation's measures: divergences, landscapes, map, and tables of class distances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from robustcl.report.canvas import DASHES, INK, MUTED, PALETTE, Drawing, LegendEntry, draw
from robustcl.report.heat import Heat, HeatCell, cell, markup
from robustcl.report.load import Arrays
from robustcl.report.representation import class_name

CLASSES = 20
"""At most so many classes stand in a table of distances."""

_LOSS = LinearSegmentedColormap.from_list("loss", ["#f5f9fc", "#86b0d6", "#2b5c8a"])
_DOUBT = LinearSegmentedColormap.from_list("doubt", [PALETTE[0], PALETTE[1]])
_CLEAN, _ATTACKED = LegendEntry("clean", PALETTE[0]), LegendEntry("attacked", PALETTE[1], DASHES[1])


def draw_measured(
    groups: Mapping[str, Arrays], settings: Mapping[str, Any], classes: Sequence[str], name: str
) -> tuple[list[tuple[Drawing, ...]], list[Markup]]:
    """Return the drawings, those that belong beside each other together, and tables; ids begin with ``name``."""
    figures: list[tuple[Drawing, ...]] = []
    if "r-div" in groups:
        figures.append(_divergence(groups["r-div"], f"{name}-r-div"))
    landscapes = []
    if "input-landscape" in groups:
        landscapes.append(_inputs(groups["input-landscape"], _of(settings, "input-landscape"), f"{name}-inputs"))
    if "weight-landscape" in groups:
        landscapes.append(_weights(groups["weight-landscape"], _of(settings, "weight-landscape"), f"{name}-weights"))
    figures.append(tuple(landscapes))
    if "t-sne" in groups:
        most = _of(settings, "t-sne").get("most")
        figures.append(_map(groups["t-sne"], most if isinstance(most, float) else None, f"{name}-map"))
    heats = _heats(groups["class-distances"], classes) if "class-distances" in groups else []
    return [group for group in figures if group], heats


def _of(settings: Mapping[str, Any], measure: str) -> Mapping[str, Any]:
    found = settings.get(measure)
    return found if isinstance(found, Mapping) else {}


def _divergence(arrays: Arrays, name: str) -> tuple[Drawing, ...]:
    """Draw how the two parts of R-DIV are spread over the images."""
    parts = [array[np.isfinite(array)] for array in (arrays["intra_each"], arrays["inter_each"])]
    if any(len(part) == 0 for part in parts):
        return ()
    keys = (
        LegendEntry("to its own class (intra)", PALETTE[0]),
        LegendEntry("to other classes (inter)", PALETTE[1], DASHES[1]),
    )
    together = np.concatenate(parts)
    low, high = float(together.min()), float(together.max())
    edges = np.linspace(low, high if high > low else low + 1e-6, 25)

    def paint(figure: Figure) -> None:
        ax = figure.subplots()
        for part, key in zip(parts, keys, strict=True):
            style = "-" if not key.dash else (0, (4, 2))
            count = np.histogram(part, edges)[0]
            ax.stairs(count, edges, color=key.colour, linewidth=1.6, linestyle=style)
            ax.axvline(float(part.mean()), color=key.colour, linewidth=1.1, linestyle=style)
        ax.set_xlabel("mean cosine distance of an image")
        ax.set_ylabel("images")
        ax.set_ylim(bottom=0)
        ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        ax.set_axisbelow(True)

    intra, inter = (float(part.mean()) for part in parts)
    ratio = f"{intra / inter:.3g}" if inter > 0 else "not defined"
    alt = f"Histograms of {len(parts[0])} images: mean distance {intra:.3g} to the own class, {inter:.3g} to others"
    caption = (
        f"The two parts of R-DIV, each image by itself, clean and attacked neighbours together; upright lines are "
        f"their means, {intra:.3g} and {inter:.3g}. R-DIV is the first over the second, {ratio}. The less the two "
        "overlap, the better the classes stand apart under attack."
    )
    return (Drawing(draw(name, alt, (5.0, 3.0), paint), caption, keys),)


def _inputs(arrays: Arrays, told: Mapping[str, Any], name: str) -> Drawing:
    """Draw the mean loss on the plane of the gradient's sign and random signs."""
    axis, loss = (np.asarray(arrays[key], dtype=np.float64) for key in ("axis", "loss"))
    middle = len(axis) // 2
    flat = float(np.ptp(loss)) <= 1e-9 * max(1.0, float(np.abs(loss).max()))

    def paint(figure: Figure) -> None:
        ax = figure.subplots()
        if flat:  # without levels there are no contours
            ax.imshow(np.ones((2, 2)), extent=(axis[0], axis[-1], axis[0], axis[-1]), cmap=_LOSS, aspect="auto")
        else:
            drawn = ax.contourf(axis, axis, loss, levels=12, cmap=_LOSS)
            ax.contour(axis, axis, loss, levels=12, colors="#ffffff", linewidths=0.5)
            figure.colorbar(drawn, ax=ax, label="mean loss")
        ax.plot([axis[middle]], [axis[middle]], marker="o", markersize=6, color=INK)
        ax.grid(visible=False)
        ax.set_xlabel("step along random signs")
        ax.set_ylabel("step along the gradient's sign")

    ends = f"{loss[middle, middle]:.3g} at the image, {loss[-1, middle]:.3g} at the end of the gradient"
    aside = f"{(loss[middle, 0] + loss[middle, -1]) / 2:.3g} at the ends of the random direction"
    alt = f"Loss around images: {ends}, {loss[0, middle]:.3g} at its other end, {aside}"
    caption = (
        f"Loss around inputs, mean of {told.get('images', 'the')} images; the point in the middle is the image itself, "
        f"the sides reach as far as the threat: {ends}, {aside}. A rough surface, or one that falls along the "
        "gradient, says that attacks by gradients are misled."
    )
    return Drawing(draw(name, alt, (5.0, 3.6), paint), caption)


def _weights(arrays: Arrays, told: Mapping[str, Any], name: str) -> Drawing:
    """Draw the loss along one direction of the weights."""
    axis, clean, attacked = (np.asarray(arrays[key], dtype=np.float64) for key in ("axis", "clean", "attacked"))

    def paint(figure: Figure) -> None:
        ax = figure.subplots()
        ax.plot(axis, clean, color=_CLEAN.colour)
        ax.plot(axis, attacked, color=_ATTACKED.colour, linestyle=(0, (4, 2)))
        ax.axvline(0.0, color=MUTED, linewidth=0.8)
        ax.set_xlabel("step along a filter-normalised direction")
        ax.set_ylabel("loss")
        ax.margins(x=0.02)

    middle = len(axis) // 2
    said = "; ".join(
        f"{key.label} {curve[0]:.3g}, {curve[middle]:.3g}, {curve[-1]:.3g}"
        for key, curve in ((_CLEAN, clean), (_ATTACKED, attacked))
    )
    alt = f"Loss over the weights, at the left end, in the middle and at the right end: {said}"
    caption = (
        f"Loss over weights on {told.get('images', 'the')} images: all filters are moved at random, each by a share of "
        "its own length. The attacked images stay those that were made for the weights in the middle, so their loss "
        "may fall beside it. A flatter curve generalises better in the papers."
    )
    return Drawing(draw(name, alt, (5.0, 3.0), paint), caption, (_CLEAN, _ATTACKED))


def _map(arrays: Arrays, most: float | None, name: str) -> tuple[Drawing, ...]:
    """Draw clean and attacked images of one t-SNE map, coloured by the entropy of the prediction."""
    both = np.concatenate([arrays["clean"], arrays["attacked"]])
    entropies = {"clean": arrays["clean_entropy"], "attacked": arrays["attacked_entropy"]}
    top = most or max(float(np.concatenate(list(entropies.values())).max()), 1e-6)
    span = np.ptp(both, axis=0).max() * 0.04
    limits = [(both[:, axis].min() - span, both[:, axis].max() + span) for axis in (0, 1)]
    legend = tuple(
        LegendEntry(f"{share * top:.2f} nats{word}", str(to_hex(_DOUBT(share))), mark="square")
        for share, word in ((0.0, ", sure"), (0.5, ""), (1.0, ", all alike"))
    )

    def one(kind: str, entropy: NDArray[Any]) -> Drawing:
        points = arrays[kind]

        def paint(figure: Figure) -> None:
            ax = figure.subplots()
            ax.scatter(points[:, 0], points[:, 1], s=14, c=_DOUBT(np.clip(entropy / top, 0, 1)), linewidths=0)
            ax.set_xlim(*limits[0])
            ax.set_ylim(*limits[1])
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_visible(False)

        mean = float(entropy.mean())
        alt = f"t-SNE map of {len(points)} {kind} images, coloured by entropy: mean {mean:.3g} of {top:.3g} nats"
        caption = (
            f"{kind.capitalize()} images in a t-SNE map that was made of clean and attacked ones together, coloured by "
            f"the entropy of the prediction: {mean:.3g} nats in the mean."
        )
        return Drawing(draw(f"{name}-{kind}", alt, (5.0, 3.4), paint), caption, legend)

    return tuple(one(kind, entropy) for kind, entropy in entropies.items())


def _heats(arrays: Arrays, classes: Sequence[str]) -> list[Markup]:
    """Make a table of class distances for clean and one for attacked images, in the same colours."""
    shown = slice(0, CLASSES)
    names = tuple(class_name(int(label), classes) for label in arrays["classes"][shown])
    tables = {kind: arrays[kind][shown, shown] for kind in ("clean", "attacked")}
    finite = [float(table[np.isfinite(table)].max()) for table in tables.values() if np.isfinite(table).any()]
    top = max([*finite, 1e-12])
    cut = f" The first {CLASSES} of {len(arrays['classes'])} classes." if len(arrays["classes"]) > CLASSES else ""
    made = []
    for kind, table in tables.items():
        rows = tuple(
            (name, tuple(_distance(value, top, place == other) for other, value in enumerate(table[place])))
            for place, name in enumerate(names)
        )
        caption = f"Mean cosine distance of two {kind} images by their classes; in bold, within a class.{cut}"
        made.append(markup(Heat("class", names, rows, caption)))
    return made


def _distance(value: float, top: float, marked: bool) -> HeatCell:
    if not np.isfinite(value):
        return cell(None, marked=marked)
    return replace(cell(float(value) / top, marked=marked), value=float(value), text=f"{value:.2f}")
