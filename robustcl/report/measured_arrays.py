"""The arrays behind the figures of a representation: which there are, of which shape, and whether they can be drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from robustcl.report.load import Arrays

_SHAPES: Mapping[str, Mapping[str, str]] = {
    "r-div": {"intra_each": "n", "inter_each": "n"},
    "class-distances": {"clean": "cc", "attacked": "cc", "classes": "c"},
    "input-landscape": {"axis": "p", "loss": "pp"},
    "weight-landscape": {"axis": "p", "clean": "p", "attacked": "p"},
    "inversion": {"image": "*", "inverted": "*", "label": "k", "index": "k", "start": "k", "reached": "k"},
    "t-sne": {"clean": "n2", "attacked": "m2", "clean_entropy": "n", "attacked_entropy": "m"},
}
"""Measure -> its arrays: letters are sizes that must agree, digits are sizes, "*" is an image each."""

_MAY_BE_UNDEFINED = frozenset({"r-div", "class-distances"})
"""An image or a class alone has no distance to its own kind."""


def group_arrays(arrays: Arrays, values: Mapping[str, Any]) -> tuple[dict[str, Arrays], dict[str, str]]:
    """Return the arrays of each measure that can be drawn, and for others that were measured why not."""
    found: dict[str, Arrays] = {}
    damaged: dict[str, str] = {}
    for measure, shapes in _SHAPES.items():
        mine = {key: arrays[f"{measure}/{key}"] for key in shapes if f"{measure}/{key}" in arrays}
        if not mine:
            continue
        if len(mine) < len(shapes) or not _fits(mine, shapes):
            damaged[measure] = "its arrays are damaged, so its figure is left out"
        elif measure not in _MAY_BE_UNDEFINED and not all(np.isfinite(array).all() for array in mine.values()):
            damaged[measure] = "its figure is left out, because it holds infinite or undefined numbers"
        elif measure in values:
            found[measure] = mine
    return found, damaged


def _fits(arrays: Arrays, shapes: Mapping[str, str]) -> bool:
    sizes: dict[str, int] = {}
    for key, shape in shapes.items():
        array = arrays[key]
        if array.dtype.kind not in "fiu" or array.size == 0:
            return False
        expected = ["k", *(f"axis {axis}" for axis in range(1, array.ndim))] if shape == "*" else list(shape)
        if array.ndim != len(expected):
            return False
        for letter, size in zip(expected, array.shape, strict=True):
            if size != (int(letter) if letter.isdigit() else sizes.setdefault(letter, size)):
                return False
    return True
