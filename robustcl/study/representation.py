"""What a study can say of features: each value of a column ``representation``, by the function that measures it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from torch import Tensor

from robustcl import measures
from robustcl.errors import UsageError
from robustcl.evaluate.observer import Observations, Reading


@dataclass(frozen=True, slots=True)
class MeasuredViews:
    """What is measured: test images before and after, and the training images' clean features where asked for."""

    seen: Observations
    train: Callable[[], tuple[Tensor, Tensor]]


def _class_ratio(of: MeasuredViews) -> float:
    return measures.class_distances(of.seen.moved, of.seen.label).ratio


def _divergence(part: str) -> Callable[[MeasuredViews], float]:
    def value(of: MeasuredViews) -> float:
        found = measures.relative_divergence(of.seen.clean, of.seen.moved, of.seen.label)
        return float(getattr(found, part))

    return value


def _separability(of: MeasuredViews) -> float:
    train, label = of.train()
    return measures.linear_separability(train, label, of.seen.moved, of.seen.label).test


VALUES: Mapping[str, Callable[[MeasuredViews], float]] = MappingProxyType({
    "relative-divergence": _divergence("relative"),
    "intra-divergence": _divergence("intra"),
    "inter-divergence": _divergence("inter"),
    "feature-divergence": lambda of: float(measures.feature_divergence(of.seen.clean, of.seen.moved).mean()),
    "alignment": lambda of: measures.alignment(of.seen.clean, of.seen.moved),
    "uniformity": lambda of: measures.uniformity(of.seen.moved),
    "class-ratio": _class_ratio,
    "silhouette": lambda of: measures.silhouettes(of.seen.clean, of.seen.moved, of.seen.label).adversarial,
    "silhouette-drop": lambda of: measures.silhouettes(of.seen.clean, of.seen.moved, of.seen.label).drop,
    "effective-rank": lambda of: measures.effective_rank(of.seen.moved),
    "entropy": lambda of: float(measures.prediction_entropy(of.seen.logits).mean()),
    "linear-separability": _separability,
})  # fmt: skip
"""Value -> its measure, of the moved images; of clean ones beside them where it compares the two."""


def measure(values: Iterable[str], of: MeasuredViews) -> dict[str, dict[str, Any] | None]:
    """Return each value as the fields of a ``Reading``; ``None`` where the features leave nothing to measure."""
    return {value: _one(VALUES[value], of) for value in values}


def _one(measure: Callable[[MeasuredViews], float], of: MeasuredViews) -> dict[str, Any] | None:
    try:
        found = measure(of)
    except UsageError:  # one class alone, or features that have collapsed to a point
        return None
    return asdict(Reading(found)) if math.isfinite(found) else None
