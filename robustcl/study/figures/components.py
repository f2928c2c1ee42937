"""The figure of what single components of the features respond to: pictures from different seeds beside each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from robustcl.report.canvas import Sketch
from robustcl.study.figures.panels import POINTS, STYLE, WIDTH

Arrays = Mapping[str, NDArray[Any]]
"""What a measure of one run found, by name."""


def draw_components(name: str, found: Sequence[tuple[str, Arrays]]) -> Sketch:
    """Draw a block for each run: a line for each seed, which stands first, and then what each component makes of it.

    Images of one channel are grey, those of three in colour; of any other number the mean of the channels is shown.
    """
    seeds, count = found[0][1]["found"].shape[:2]
    widest = max(one["found"].shape[1] for _, one in found)
    beside = max(1, min(len(found), int((WIDTH - 0.4) / (0.45 * (widest + 1)))))

    def paint(canvas: Canvas) -> None:
        blocks = canvas.subfigures(math.ceil(len(found) / beside), beside, squeeze=False).ravel()
        for block, (label, one) in zip(blocks, found, strict=False):
            block.suptitle(label, fontsize=POINTS)
            axes = block.subplots(seeds, widest + 1, squeeze=False)
            for line, (seed, made) in enumerate(zip(one["seed"], one["found"], strict=True)):
                for place, image in enumerate([seed, *made]):
                    show_image(axes[line][place], image)
            for place, component in enumerate(one["component"], 1):
                axes[0][place].set_title(f"h {int(component)}")
            axes[0][0].set_title("seed")
            for ax in axes.flat:
                ax.set_axis_off()

    said = "; ".join(
        f"{label}: from {np.mean(one['start']):.3g} to {np.mean(one['reached']):.3g}" for label, one in found
    )
    wide = min(WIDTH, beside * 0.6 * (widest + 1) + 0.4)
    size = wide, math.ceil(len(found) / beside) * (wide / beside / (widest + 1) * seeds + 0.6)
    alt = f"What makes {count} components of the features large, on average {said}"
    return Sketch(name, alt, size, paint, STYLE)


def show_image(ax: Axes, image: NDArray[Any]) -> None:
    """Show an image (C, H, W) with values of 0 to 1."""
    pixels = np.moveaxis(np.asarray(image, dtype=np.float64), 0, -1)
    if pixels.shape[-1] not in (1, 3):
        pixels = pixels.mean(-1, keepdims=True)
    ax.imshow(pixels if pixels.shape[-1] == 3 else pixels[..., 0], cmap="gray", vmin=0.0, vmax=1.0)
