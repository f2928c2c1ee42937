"""Measures of the features, predictions and classes of a sample; each by its name in the catalogue."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustcl import measures
from robustcl.analysis.measure.sample import Sample

_BATCH = 128
"""The mini-batch of Bui et al. 2021, appendix 7."""
_NEIGHBOURS = 10
_MAPPED = 500
"""Images of a t-SNE map, at most, where nobody says how many."""

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


def divergence(of: Sample) -> Measures:
    """R-DIV and its parts, with each anchor's."""
    clean, after = of.features
    found = measures.relative_divergence(clean, after, of.label)
    moved = float(measures.feature_divergence(clean, after).mean())
    return Measures(
        {"relative": found.relative, "intra": found.intra, "inter": found.inter, "moved": moved},
        {"intra_each": array(found.intra_each), "inter_each": array(found.inter_each)},
    )


def batch_divergence(of: Sample) -> Measures:
    """R-DIV and its parts, each image among its mini-batch alone, in an order that is drawn.

    In their own order the images of a folder that is sorted by class would make batches of one class.
    """
    order = of.draws.child("r-div-128").permutation(len(of.label), device=of.label.device)
    clean, after = (h[order] for h in of.features)
    found = measures.relative_divergence(clean, after, of.label[order], batch=_BATCH)
    return Measures({"relative": found.relative, "intra": found.intra, "inter": found.inter})


def class_distances(of: Sample) -> Measures:
    """The ratio of distances between and within classes, and the tables of classes."""
    clean, after = (measures.class_distances(h, of.label) for h in of.features)
    return Measures(
        {"ratio": _pair(clean.ratio, after.ratio)},
        {"clean": array(clean.table), "attacked": array(after.table), "classes": array(clean.classes)},
    )


def alignment(of: Sample) -> Measures:
    """Alignment of clean and attacked features as positive pairs."""
    return Measures({"pairs": measures.alignment(*of.features)})


def uniformity(of: Sample) -> Measures:
    """Uniformity of clean and of attacked features."""
    return Measures({"features": _pair(*map(measures.uniformity, of.features))})


def silhouette(of: Sample) -> Measures:
    """Silhouettes of the classes."""
    found = measures.silhouettes(*of.features, of.label)
    return Measures({"classes": _pair(found.clean, found.adversarial), "drop": found.drop})


def separability(of: Sample) -> Measures:
    """A linear classifier of the clean training features, judged on the sample's."""
    train, label = _training(of)
    clean, after = of.features
    found = measures.linear_separability(train, label, clean, of.label)
    return Measures(
        {"accuracy": _pair(found.test, found.accuracy(after, of.label))},
        settings={"training": len(train), "converged": found.converged},
    )


def rank(of: Sample) -> Measures:
    """Effective rank and deviation of the features."""
    return Measures({
        "effective": _pair(*map(measures.effective_rank, of.features)),
        "deviation": _pair(*map(measures.feature_deviation, of.features)),
    })  # fmt: skip


def relative_drop(of: Sample) -> Measures:
    """What the attack takes of the accuracy: an image counts as wrong from its first error on, as in evaluation."""
    right, kept = of.kept
    relative = measures.relative_drop(int(right.sum()), int(kept.sum())) if bool(right.any()) else math.nan
    accuracy = _pair(float(right.double().mean()), float(kept.double().mean()))
    return Measures({"accuracy": accuracy, "relative": relative})


def fooled(of: Sample) -> Measures:
    """Who is fooled where the whole attack ends, what it takes of the true class's probability, and who is right."""
    lost, right = measures.class_probability_drop(*of.logits, of.label), of.logits[1].argmax(1) == of.label
    numbers = {"fooled": lost.fooled, "probability": lost.drop, "accuracy": float(right.double().mean())}
    return Measures(numbers, settings={"judged": lost.judged})


def entropy(of: Sample) -> Measures:
    """Doubt of the predictions, and mixture of classes among neighbours."""
    count = min(_NEIGHBOURS, len(of.label) - 1)
    predicted = (float(measures.prediction_entropy(x).mean()) for x in of.logits)
    around = (float(measures.neighbour_entropy(h, of.label, neighbours=count).mean()) for h in of.features)
    return Measures({"prediction": _pair(*predicted), "neighbours": _pair(*around)}, settings={"neighbours": count})


def embedding(of: Sample, images: int = _MAPPED, attacked: int | None = None) -> Measures:
    """The first features, clean and attacked, in one t-SNE map, each point with the entropy of its prediction.

    attacked: how many of them are in the map as they were moved too; left out, all. Where nothing is moved the map is
    of the clean ones alone.
    """
    moved = images if attacked is None else min(attacked, images)
    clean, after = (h[:most] for h, most in zip(of.features, (images, moved), strict=True))
    still = torch.equal(clean[:moved], after)
    points = array(measures.t_sne(clean if still else torch.cat([clean, after])))
    before, beside = (
        array(measures.prediction_entropy(x[:most])) for x, most in zip(of.logits, (images, moved), strict=True)
    )
    return Measures(
        arrays={
            "clean": points[: len(clean)],
            "attacked": points[: len(after)] if still else points[len(clean) :],
            "clean_entropy": before,
            "attacked_entropy": beside,
            "label": array(of.label[:images]),
        },
        settings={"most": float(np.log(of.logits[0].shape[1]))},
    )


@torch.no_grad()
def _training(of: Sample) -> tuple[Tensor, Tensor]:
    """Return features (m, F) and labels (m,) of all labelled training images."""
    assert of.train is not None, "a model from outside has no training images: what it can be asked is checked before"
    index = (of.train.labels >= 0).nonzero()[:, 0]
    batches = of.train.batches(torch.split(index.cpu(), of.block))
    return torch.cat([of.embed(x, "h") for _, x in batches]), of.train.labels[index]


def _pair(clean: float, attacked: float) -> dict[str, float]:
    return {"clean": clean, "attacked": attacked}
