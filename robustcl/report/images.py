"""The strip of images: clean, perturbation, adversarial, as PNG inside data URIs."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robustcl.report.load import Arrays
from robustcl.report.representation import class_name

SHOWN = 12
"""At most so many images are shown."""

SMALL = 64
"""The largest side of a thumbnail, in pixels."""


@dataclass(frozen=True, slots=True)
class StripSample:
    """One image of the strip: three data URIs, the label, the two predictions, and whether each is right."""

    index: int | None
    clean: str
    perturbation: str
    adversarial: str
    label: str
    clean_prediction: str
    adversarial_prediction: str
    clean_right: bool | None
    adversarial_right: bool | None
    change: float


@dataclass(frozen=True, slots=True)
class Strip:
    """The samples, the factor by which the perturbations are amplified, and the images' width and height."""

    samples: tuple[StripSample, ...]
    factor: int
    width: int
    height: int


def strip(arrays: Arrays, classes: Sequence[str]) -> Strip | str:
    """Make the strip from (k, C, H, W) images in [0, 1]; a sentence where the arrays are no images.

    The perturbation is shown as 0.5 + factor * (adversarial - clean), with one factor for all: the largest
    integer with which no pixel leaves [0, 1], and 1 at least.
    """
    clean, adversarial = (np.asarray(arrays[key][:SHOWN], dtype=np.float64) for key in ("clean", "adversarial"))
    if clean.ndim != 4 or 0 in clean.shape:
        return f"artifacts/strip.npz holds arrays of shape {arrays['clean'].shape}, not images (k, C, H, W)"
    delta = adversarial - clean
    largest = float(np.abs(delta).max())
    factor = max(1, math.floor(0.5 / largest + 1e-9)) if largest > 0 else 1
    samples = []
    for place in range(len(clean)):
        label, before, after = (
            _at(arrays, key, place) for key in ("label", "clean_prediction", "adversarial_prediction")
        )
        samples.append(
            StripSample(
                index=_at(arrays, "index", place),
                clean=png(clean[place]),
                perturbation=png(0.5 + factor * delta[place]),
                adversarial=png(adversarial[place]),
                label=class_name(label, classes),
                clean_prediction=class_name(before, classes),
                adversarial_prediction=class_name(after, classes),
                clean_right=_right(label, before),
                adversarial_right=_right(label, after),
                change=float(np.abs(delta[place]).max()),
            )
        )
    return Strip(tuple(samples), factor, clean.shape[3], clean.shape[2])


def thumbnails(arrays: Arrays) -> dict[int, str]:
    """Return the clean images of the strip as data URIs by index, at most ``SMALL`` pixels wide and high."""
    if "index" not in arrays or arrays["clean"].ndim != 4 or 0 in arrays["clean"].shape:
        return {}
    step = math.ceil(max(arrays["clean"].shape[2:]) / SMALL)
    pairs = zip(arrays["index"][:SHOWN], arrays["clean"][:SHOWN], strict=False)
    return {int(index): png(image[:, ::step, ::step]) for index, image in pairs}


def png(image: NDArray[Any]) -> str:
    """Return a (C, H, W) image in [0, 1] as a PNG data URI; other than 1 or 3 channels as their mean."""
    pixels = (np.clip(image, 0.0, 1.0) * 255).round().astype(np.uint8)
    grey = pixels[0] if len(pixels) == 1 else pixels.mean(axis=0).round().astype(np.uint8)
    shown = np.ascontiguousarray(pixels.transpose(1, 2, 0)) if len(pixels) == 3 else grey
    stream = io.BytesIO()
    Image.fromarray(shown).save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _at(arrays: Arrays, key: str, place: int) -> int | None:
    return int(arrays[key][place]) if key in arrays and place < len(arrays[key]) else None


def _right(label: int | None, prediction: int | None) -> bool | None:
    return None if label is None or label < 0 or prediction is None else label == prediction
