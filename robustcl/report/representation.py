"""The map of representations: clean and adversarial features of the same images in two dimensions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from robustcl.report.canvas import MUTED, PALETTE, Drawing, LegendEntry, draw
from robustcl.report.load import Arrays

Projection = Literal["t-sne", "pca"]
POINTS = 600
"""At most so many points are drawn, clean and adversarial together."""

FEW = 50
"""Fewer points than this have no neighbourhoods worth the name: PCA instead of t-SNE."""


def class_name(label: int | None, classes: Sequence[str]) -> str:
    """Return a label's class name, or its number, or a word for none."""
    if label is None:
        return "unknown"
    if label < 0:
        return "unlabelled"
    return str(classes[label]) if label < len(classes) else str(label)


def project(points: NDArray[Any], method: Projection = "t-sne") -> tuple[NDArray[Any], Projection]:
    """Return (n, 2) coordinates of (n, F) points, and the method used; the same points give the same map.

    Source: L. van der Maaten and G. Hinton, Visualizing data using t-SNE, JMLR 9, 2008.
    """
    points = np.asarray(points, dtype=np.float64)
    flat = PCA(n_components=min(2, *points.shape), svd_solver="full").fit_transform(points)
    flat = np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))
    if method == "pca" or len(points) < FEW or points.shape[1] < 2:
        return flat, "pca"
    start = 1e-4 * flat / max(float(flat[:, 0].std()), 1e-12)
    tsne = TSNE(n_components=2, init=start, perplexity=30.0 if len(points) > 120 else len(points) / 4, random_state=0)
    return tsne.fit_transform(points), "t-sne"


def draw_representation(arrays: Arrays, classes: Sequence[str], method: Projection = "t-sne") -> Drawing | str:
    """Draw the map; a sentence instead where all representations are the same point."""
    clean, adversarial = (
        arrays["clean"].reshape(len(arrays["clean"]), -1),
        arrays["adversarial"].reshape(len(arrays["clean"]), -1),
    )
    total = len(clean)
    rows = np.unique(np.linspace(0, total - 1, min(total, POINTS // 2)).round().astype(int))
    both = np.concatenate([clean[rows], adversarial[rows]])
    if len(both) < 4 or float(np.ptp(both, axis=0).max()) == 0.0:
        return "all representations are the same point: the encoder has collapsed, or there are too few images"
    points, used = project(both, method)
    points = PCA(n_components=2, svd_solver="full").fit_transform(points)  # turned so that the long side lies flat
    height = 5.4 * min(1.0, max(0.45, float(np.ptp(points[:, 1]) / max(np.ptp(points[:, 0]), 1e-12))))
    half, label = len(rows), arrays["label"][rows].astype(int)
    common = [int(c) for c, _ in Counter(label.tolist()).most_common(len(PALETTE))]
    colour = {c: PALETTE[place] for place, c in enumerate(sorted(common))}
    colours = [colour.get(int(c), "#9aa5b1") for c in label]

    def paint(figure: Figure) -> None:
        ax = figure.subplots()
        pairs = np.stack([points[:half], points[half:]], axis=1)
        ax.add_collection(LineCollection(list(pairs), colors="#9aa5b1", linewidths=0.7, alpha=0.7))
        ax.scatter(points[:half, 0], points[:half, 1], s=8, c=colours, linewidths=0)
        ax.scatter(points[half:, 0], points[half:, 1], s=24, facecolors="none", edgecolors=colours, linewidths=1.0)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_aspect("equal", adjustable="datalim")
        ax.spines[:].set_visible(False)

    names = {c: class_name(c, classes) for c in sorted(common)}
    rest = [LegendEntry("other classes", "#9aa5b1", mark="square")] if len(set(label.tolist())) > len(common) else []
    legend = (
        LegendEntry("clean", MUTED, mark="dot"),
        LegendEntry("adversarial", MUTED, mark="ring"),
        *(LegendEntry(names[c], colour[c], mark="square") for c in sorted(common)),
        *rest,
    )
    name = {"t-sne": "t-SNE", "pca": "PCA"}[used]
    route = f" (route {arrays['route']})" if "route" in arrays else ""
    shift = float(np.median(np.linalg.norm(clean - adversarial, axis=1)))
    spread = float(np.median(np.linalg.norm(clean - clean.mean(axis=0), axis=1)))
    alt = f"{name} map of {half} clean images and their adversarial versions, coloured by class: "
    of = f"{half} of {total}" if half < total else f"{half}"
    caption = (
        f"{name} of the representations{route} of {of} images: filled when clean, hollow when attacked, "
        f"the two joined by a thin line. In the full space an attack moves an image by {shift:.3g} (median), "
        f"where images lie {spread:.3g} from their mean (median). {_CAUTION[used]}"
    )
    return Drawing(draw("representation", alt + ", ".join(names.values()), (5.4, height), paint), caption, legend)


_CAUTION = {
    "t-sne": "Distances between groups and the sizes of groups mean little in t-SNE; neighbours do.",
    "pca": "Shown are the two directions of largest variance.",
}
