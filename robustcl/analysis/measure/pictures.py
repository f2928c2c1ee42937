"""Loss landscapes, inverted features and what single components respond to, of a few images of a sample, as arrays."""

from __future__ import annotations

import math
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
_SEEDS, _COMPONENTS = 3, 4
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


def weight_landscape(of: Sample, images: int = SHOWN, points: int = _CURVE, radius: float = _CURVE_RADIUS) -> Measures:
    """The loss of clean images, and of their fixed attacked versions, along one filter-normalised direction."""
    count = min(images, SHOWN)
    rows, moved = of.index[:count], of.moved[:count]
    label, rng = of.label[:count], of.draws.child("weight-landscape")
    curves = {}
    for name, x in (("clean", of.images.fetch(rows)), ("attacked", moved)):

        def loss(module: torch.nn.Module, x: Tensor = x) -> Tensor:
            return F.cross_entropy(torch.cat([of.embed(part, "logits") for part in torch.split(x, of.block)]), label)

        found = measures.weight_landscape(of.classifier.module, loss, rng, radius=radius, points=points)
        axis, curves[name] = found.axis, found.loss
    middle = points // 2
    return Measures(
        {
            "centre": {name: float(curve[middle]) for name, curve in curves.items()},
            "rise": {name: float((curve[0] + curve[-1]) / 2 - curve[middle]) for name, curve in curves.items()},
        },
        {"axis": array(axis), **{name: array(curve) for name, curve in curves.items()}},
        {"images": len(label), "radius": radius},
    )


def inversion(of: Sample) -> Measures:
    """Images found from noise that have the features of some of the sample, one of each class first."""
    places = _spread(of.label, _INVERTED)
    rows, label = of.index[places], of.label[places]
    x = of.images.fetch(rows)
    step_size = _step_of(x)
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


def components(of: Sample, images: int = _SEEDS, count: int = _COMPONENTS, steps: int = _STEPS) -> Measures:
    """What makes single components of the features large, from some images and from noise; how alike it is among them.

    The components are those that differ most over the sample. The agreement is the mean cosine of what was added to
    different seeds for the same component.
    """
    places = _spread(of.label, images)
    rows = of.index[places]
    x = of.images.fetch(rows)
    noise = of.draws.child("components").uniform(x[:1].shape, 0.0, 1.0, device=x.device, dtype=x.dtype)
    seeds = torch.cat([x, noise])
    clean = of.features[0]
    which = clean.double().std(0, correction=0).topk(min(count, clean.shape[1])).indices
    with of.classifier.attacked():
        found = [
            measures.component_maximum(
                partial(of.embed, layer="h"), seeds, int(each), steps=steps, step_size=_step_of(x)
            )
            for each in which
        ]
    added = torch.stack([(each.images - seeds).flatten(1).double() for each in found])
    start, reached = (torch.stack([getattr(each, name) for each in found], 1) for name in ("start", "value"))
    return Measures(
        {"start": float(start.mean()), "reached": float(reached.mean()), "agreement": _agreement(added)},
        {
            "seed": array(seeds), "found": array(torch.stack([each.images for each in found], 1)),
            "component": array(which), "start": array(start), "reached": array(reached),
        },
        {"steps": steps, "step_size": _step_of(x)},
    )  # fmt: skip


def _agreement(added: Tensor) -> float:
    """Return the mean cosine of different rows of each matrix of (c, k, d); one that did not move has none."""
    unit = F.normalize(added, dim=2)
    cosine = unit @ unit.mT
    moved = (added.norm(dim=2) > 0).double()
    pairs = moved[:, :, None] * moved[:, None, :] * (1 - torch.eye(added.shape[1], dtype=added.dtype))
    return float((cosine * pairs).sum() / pairs.sum()) if pairs.any() else math.nan


def _step_of(x: Tensor) -> float:
    return float(_STEP_SIZE * x[0].numel() ** 0.5)


def _step_along_signs(ball: Ball, x: Tensor) -> float:
    signs = torch.ones_like(x[:1])
    return float(ball.eps) / float(ball.distance(signs, torch.zeros_like(signs)))


def _spread(label: Tensor, most: int) -> Tensor:
    """Return the positions of the first image of each class, then of the second, and so on; at most so many."""
    seen: dict[int, int] = {}
    turns = []
    for place, one in enumerate(label.tolist()):
        turns.append((seen.setdefault(one, 0), one, place))
        seen[one] += 1
    return torch.tensor([place for _, _, place in sorted(turns)[:most]], device=label.device)
