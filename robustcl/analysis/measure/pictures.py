"""Loss landscapes and inverted features of a few images of a sample, as arrays."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from robustcl import measures
from robustcl.analysis.measure.numbers import Measures, array
from robustcl.analysis.measure.opened import MeasuredSubject
from robustcl.analysis.measure.views import SampleViews
from robustcl.threat import Ball

_GRID, _GRID_IMAGES = 21, 25
_CURVE, _CURVE_IMAGES, _CURVE_RADIUS = 31, 200, 0.5
_STEPS, _INVERTED = 200, 8
_STEP_SIZE = 0.0125
"""Length of an inversion's step in L2 for an input of one value; it grows with the root of their number."""


def input_landscape(subject: MeasuredSubject, views: SampleViews) -> Measures:
    """The mean loss on the plane of the gradient's sign and random signs, a threat's radius to each side.

    The radius is the step along signs whose length in the threat's norm is eps.
    """
    x, label = views.x[:_GRID_IMAGES], views.label[:_GRID_IMAGES]
    radius = _step_along_signs(subject.judge.ball, x)
    with subject.judge.classifier.attacked():
        found = measures.input_landscape(
            subject.logits, x, label, subject.rng.child("input-landscape").for_rows(views.index[:_GRID_IMAGES]),
            radius=radius, points=_GRID,
        )  # fmt: skip
    mean, middle = found.mean, _GRID // 2
    numbers = {
        "centre": float(mean[middle, middle]),
        "gradient": float(mean[-1, middle]),
        "random": float((mean[middle, 0] + mean[middle, -1]) / 2),
    }
    return Measures(numbers, {"axis": array(found.axis), "loss": array(mean)}, {"images": len(x), "radius": radius})


def weight_landscape(subject: MeasuredSubject, views: SampleViews) -> Measures:
    """The loss of clean images, and of their fixed attacked versions, along one filter-normalised direction."""
    label, rng = views.label[:_CURVE_IMAGES], subject.rng.child("weight-landscape")
    curves = {}
    for name, x in (("clean", views.x[:_CURVE_IMAGES]), ("attacked", views.moved[:_CURVE_IMAGES])):

        def loss(module: torch.nn.Module, x: Tensor = x) -> Tensor:
            return F.cross_entropy(torch.cat([subject.logits(part) for part in torch.split(x, subject.block)]), label)

        found = measures.weight_landscape(subject.encoder, loss, rng, radius=_CURVE_RADIUS, points=_CURVE)
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


def inversion(subject: MeasuredSubject, views: SampleViews) -> Measures:
    """Images found from noise that have the features of some of the sample, one of each class first."""
    rows = _spread(views.label)
    x = views.x[rows]
    step_size = _STEP_SIZE * x[0].numel() ** 0.5
    with subject.judge.classifier.attacked():
        found = measures.feature_inversion(
            subject.features, x, subject.rng.child("inversion").for_rows(views.index[rows]),
            steps=_STEPS, step_size=step_size,
        )  # fmt: skip
    return Measures(
        {"start": float(found.start.mean()), "reached": float(found.value.mean())},
        {
            "image": array(x), "inverted": array(found.images), "label": array(views.label[rows]),
            "index": array(views.index[rows]), "start": array(found.start), "reached": array(found.value),
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
