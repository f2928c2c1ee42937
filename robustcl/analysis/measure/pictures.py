"""Loss landscapes and inverted features of a few images of a sample, as arrays."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from robustcl import measures
from robustcl.analysis.measure.numbers import Measures, array
from robustcl.analysis.measure.sample import SHOWN, Sample
from robustcl.threat import Ball

_GRID, _GRID_IMAGES = 21, 25
_CURVE, _CURVE_RADIUS = 31, 0.5
_STEPS, _INVERTED = 200, 8
_STEP_SIZE = 0.0125
"""Length of an inversion's step in L2 for an input of one value; it grows with the root of their number."""


def input_landscape(of: Sample, images: int = _GRID_IMAGES, points: int = _GRID, times: float = 1.0) -> Measures:
    """The mean loss on the plane of the gradient's sign and random signs, so many radii of the threat to each side.

    A radius is the step along signs whose length in the threat's norm is eps.
    """
    rows = of.index[:images]
    x = of.images.fetch(rows)
    radius = times * _step_along_signs(of.ball, x)
    with of.classifier.attacked():
        found = measures.input_landscape(
            partial(of.embed, layer="logits"), x, of.label[:images], of.draws.child("input-landscape").for_rows(rows),
            radius=radius, points=points,
        )  # fmt: skip
    mean, middle = found.mean, points // 2
    numbers = {
        "centre": float(mean[middle, middle]),
        "gradient": float(mean[-1, middle]),
        "random": float((mean[middle, 0] + mean[middle, -1]) / 2),
    }
    return Measures(numbers, {"axis": array(found.axis), "loss": array(mean)}, {"images": len(x), "radius": radius})


def weight_landscape(of: Sample) -> Measures:
    """The loss of clean images, and of their fixed attacked versions, along one filter-normalised direction."""
    rows = of.index[:SHOWN]
    label, rng = of.label[:SHOWN], of.draws.child("weight-landscape")
    curves = {}
    for name, x in (("clean", of.images.fetch(rows)), ("attacked", of.moved)):

        def loss(module: torch.nn.Module, x: Tensor = x) -> Tensor:
            return F.cross_entropy(torch.cat([of.embed(part, "logits") for part in torch.split(x, of.block)]), label)

        found = measures.weight_landscape(of.classifier.module, loss, rng, radius=_CURVE_RADIUS, points=_CURVE)
        axis, curves[name] = found.axis, found.loss
    middle = _CURVE // 2
    return Measures(
        {
            "centre": {name: float(curve[middle]) for name, curve in curves.items()},
            "rise": {name: float((curve[0] + curve[-1]) / 2 - curve[middle]) for name, curve in curves.items()},
        },
        {"axis": array(axis), **{name: array(curve) for name, curve in curves.items()}},
        {"images": len(label), "radius": _CURVE_RADIUS},
    )


def inversion(of: Sample) -> Measures:
    """Images found from noise that have the features of some of the sample, one of each class first."""
    places = _spread(of.label)
    rows, label = of.index[places], of.label[places]
    x = of.images.fetch(rows)
    step_size = _STEP_SIZE * x[0].numel() ** 0.5
    with of.classifier.attacked():
        found = measures.feature_inversion(
            partial(of.embed, layer="h"), x, of.draws.child("inversion").for_rows(rows),
            steps=_STEPS, step_size=step_size,
        )  # fmt: skip
    return Measures(
        {"start": float(found.start.mean()), "reached": float(found.value.mean())},
        {
            "image": array(x), "inverted": array(found.images), "label": array(label),
            "index": array(rows), "start": array(found.start), "reached": array(found.value),
        },
        {"steps": _STEPS, "step_size": step_size},
    )  # fmt: skip


def _step_along_signs(ball: Ball, x: Tensor) -> float:
    signs = torch.ones_like(x[:1])
    return float(ball.eps) / float(ball.distance(signs, torch.zeros_like(signs)))


def _spread(label: Tensor) -> Tensor:
    """Return the positions of the first image of each class, then of the second, and so on; at most eight."""
    seen: dict[int, int] = {}
    turns = []
    for place, one in enumerate(label.tolist()):
        turns.append((seen.setdefault(one, 0), one, place))
        seen[one] += 1
    return torch.tensor([place for _, _, place in sorted(turns)[:_INVERTED]], device=label.device)
