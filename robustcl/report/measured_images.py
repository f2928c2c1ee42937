"""Images beside what was found from noise with the same features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robustcl.report.images import png
from robustcl.report.load import Arrays
from robustcl.report.representation import class_name


@dataclass(frozen=True, slots=True)
class Pair:
    """One image and its inversion as data URIs; ``start`` and ``reached`` are relative distances of features."""

    index: int
    label: str
    image: str
    inverted: str
    start: float
    reached: float


@dataclass(frozen=True, slots=True)
class Inverted:
    """The pairs, and the images' width and height."""

    pairs: tuple[Pair, ...]
    width: int
    height: int


def read_inverted(arrays: Arrays, classes: Sequence[str]) -> Inverted | str:
    """Return the pairs, or a sentence where the inputs are no images (k, C, H, W)."""
    image, found = (np.asarray(arrays[key], dtype=np.float64) for key in ("image", "inverted"))
    if image.ndim != 4:
        return f"inversion: inputs of shape {image.shape[1:]} are no images, so they are not shown"
    pairs = tuple(
        Pair(
            index=int(arrays["index"][place]),
            label=class_name(int(arrays["label"][place]), classes),
            image=png(image[place]),
            inverted=png(found[place]),
            start=float(arrays["start"][place]),
            reached=float(arrays["reached"][place]),
        )
        for place in range(len(image))
    )
    return Inverted(pairs, image.shape[3], image.shape[2])
