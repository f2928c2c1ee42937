"""Measures of the features, predictions and classes of a sample; each by its name in the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustcl import measures
from robustcl.analysis.measure.opened import MeasuredSubject
from robustcl.analysis.measure.views import SampleViews, training

_NEIGHBOURS = 10

Value = float | dict[str, float]
"""A number, or those of the clean and of the attacked images."""


@dataclass(frozen=True, slots=True)
class Measures:
    """What a measure found: numbers by key, arrays of its figure by name, and settings worth telling."""

    numbers: Mapping[str, Value] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


def array(value: Tensor) -> NDArray[Any]:
    """Return a tensor as an array of float32, or of whole numbers."""
    plain = value.detach().cpu()
    found: NDArray[Any] = (plain.float() if plain.is_floating_point() else plain).numpy()
    return found


def divergence(subject: MeasuredSubject, views: SampleViews) -> Measures:
    """R-DIV and its parts, with each anchor's."""
    found = measures.relative_divergence(views.clean, views.after, views.label)
    moved = float(measures.feature_divergence(views.clean, views.after).mean())
    return Measures(
        {"relative": found.relative, "intra": found.intra, "inter": found.inter, "moved": moved},
        {"intra_each": array(found.intra_each), "inter_each": array(found.inter_each)},
    )


def class_distances(subject: MeasuredSubject, views: SampleViews) -> Measures:
    """The ratio of distances between and within classes, and the tables of classes."""
    clean = measures.class_distances(views.clean, views.label)
    after = measures.class_distances(views.after, views.label)
    return Measures(
        {"ratio": _pair(clean.ratio, after.ratio)},
        {"clean": array(clean.table), "attacked": array(after.table), "classes": array(clean.classes)},
    )


def alignment(subject: MeasuredSubject, views: SampleViews) -> Measures:
    """Alignment of clean and attacked features as positive pairs."""
    return Measures({"pairs": measures.alignment(views.clean, views.after)})


def uniformity(subject: MeasuredSubject, views: SampleViews) -> Measures:
    """Uniformity of clean and of attacked features."""
    return Measures({"features": _pair(measures.uniformity(views.clean), measures.uniformity(views.after))})


def silhouette(subject: MeasuredSubject, views: SampleViews) -> Measures:
    """Silhouettes of the classes."""
    found = measures.silhouettes(views.clean, views.after, views.label)
    return Measures({"classes": _pair(found.clean, found.adversarial)})


def separability(subject: MeasuredSubject, views: SampleViews) -> Measures:
    """A linear classifier of clean training features, judged on the sample's."""
    train, label = training(subject, subject.rng.child("separability"))
    found = measures.linear_separability(train, label, views.clean, views.label)
    return Measures(
        {"accuracy": _pair(found.test, found.accuracy(views.after, views.label))},
        settings={"training": len(train), "converged": found.converged},
    )


def rank(subject: MeasuredSubject, views: SampleViews) -> Measures:
    """Effective rank and deviation of the features."""
    return Measures({
        "effective": _pair(measures.effective_rank(views.clean), measures.effective_rank(views.after)),
        "deviation": _pair(measures.feature_deviation(views.clean), measures.feature_deviation(views.after)),
    })  # fmt: skip


def relative_drop(subject: MeasuredSubject, views: SampleViews) -> Measures:
    """What the attack takes of the accuracy, and of the true class's probability.

    Accuracy counts an image as wrong from its first error on, as evaluation does; fooled and probability look at
    where the whole attack ends.
    """
    clean, kept = float(views.right.double().mean()), float(views.kept.double().mean())
    lost = measures.class_probability_drop(views.logits, views.logits_after, views.label)
    return Measures({
        "accuracy": _pair(clean, kept),
        "relative": measures.relative_drop(clean, kept),
        "fooled": lost.fooled,
        "probability": lost.drop,
    })  # fmt: skip


def entropy(subject: MeasuredSubject, views: SampleViews) -> Measures:
    """Doubt of the predictions, and mixture of classes among neighbours."""
    count = min(_NEIGHBOURS, len(views.label) - 1)
    predicted = [float(measures.prediction_entropy(x).mean()) for x in (views.logits, views.logits_after)]
    around = [
        float(measures.neighbour_entropy(h, views.label, neighbours=count).mean()) for h in (views.clean, views.after)
    ]
    return Measures({"prediction": _pair(*predicted), "neighbours": _pair(*around)}, settings={"neighbours": count})


def embedding(subject: MeasuredSubject, views: SampleViews) -> Measures:
    """Clean and attacked features in one t-SNE map, each point with the entropy of its prediction."""
    points = array(measures.t_sne(torch.cat([views.clean, views.after])))
    half = len(views.label)
    return Measures(
        arrays={
            "clean": points[:half],
            "attacked": points[half:],
            "clean_entropy": array(measures.prediction_entropy(views.logits)),
            "attacked_entropy": array(measures.prediction_entropy(views.logits_after)),
            "label": array(views.label),
        },
        settings={"most": float(np.log(views.logits.shape[1]))},
    )


def _pair(clean: float, attacked: float) -> dict[str, float]:
    return {"clean": clean, "attacked": attacked}
