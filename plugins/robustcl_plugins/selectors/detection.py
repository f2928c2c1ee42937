"""What the selectors of false negatives share: the pairs of instance discrimination, and the fate of the detected."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge
from torch import Tensor

from robustcl.types import Pairs, Scene

Detected = Literal["eliminate", "attract"]
"""Detected pairs are left out of the loss, or become positives."""
Cosine = Annotated[float, Ge(-1)]
"""A threshold of cosines; above 1 nothing is detected."""


def instance_pairs(scene: Scene) -> tuple[Tensor, Tensor]:
    """Return each anchor's own other views, and all views of other images, (N, M) bool each."""
    same = scene.rows.sample[:, None] == scene.columns.sample
    return same.scatter(1, scene.own[:, None], False), ~same


def resolved(positive: Tensor, negative: Tensor, found: Tensor, detected: Detected) -> Pairs:
    """Return the pairs after some negatives (N, M) bool were found to be false ones."""
    return Pairs(positive=positive | found if detected == "attract" else positive, negative=negative & ~found)
