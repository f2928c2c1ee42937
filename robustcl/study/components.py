"""The figure of what single components of the features respond to: pictures from different seeds beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from robustcl.report.canvas import draw

Arrays = Mapping[str, NDArray[Any]]
"""What a measure of one run found, by name."""


def draw_components(name: str, found: Sequence[tuple[str, Arrays]]) -> Markup:
    """Draw a block for each run: a line for each seed, which stands first, and then what each component makes of it.

    Images of one channel are grey, those of three in colour; of any other number the mean of the channels is shown.
    """
    seeds, count = found[0][1]["found"].shape[:2]
    widest = max(one["found"].shape[1] for _, one in found)

    def paint(canvas: Canvas) -> None:
        blocks = canvas.subfigures(1, len(found), squeeze=False)[0]
        for block, (label, one) in zip(blocks, found, strict=True):
            block.suptitle(label, fontsize=9.5)
            axes = block.subplots(seeds, widest + 1, squeeze=False)
            for line, (seed, made) in enumerate(zip(one["seed"], one["found"], strict=True)):
                for place, image in enumerate([seed, *made]):
                    show_image(axes[line][place], image)
            for place, component in enumerate(one["component"], 1):
                axes[0][place].set_title(f"h {int(component)}", fontsize=8)
            axes[0][0].set_title("seed", fontsize=8)
            for ax in axes.flat:
                ax.set_axis_off()

    said = "; ".join(
        f"{label}: from {np.mean(one['start']):.3g} to {np.mean(one['reached']):.3g}" for label, one in found
    )
    size = len(found) * 0.6 * (widest + 1) + 0.4, 0.6 * seeds + 0.8
    return draw(name, f"What makes {count} components of the features large, on average {said}", size, paint)


def show_image(ax: Axes, image: NDArray[Any]) -> None:
    """Show an image (C, H, W) with values of 0 to 1."""
    pixels = np.moveaxis(np.asarray(image, dtype=np.float64), 0, -1)
    if pixels.shape[-1] not in (1, 3):
        pixels = pixels.mean(-1, keepdims=True)
    ax.imshow(pixels if pixels.shape[-1] == 3 else pixels[..., 0], cmap="gray", vmin=0.0, vmax=1.0)
