"""Measures of a representation and of a classifier's landscape: pure functions from tensors to numbers.

They read features, logits, labels or callables, draw only from the ``Rng`` they are given, and leave modules as they
were. A number for each row is a tensor; a number for all rows is a float. Nothing is imported before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustcl.measures.classes import ClassDistances, class_distances
    from robustcl.measures.collapse import effective_rank, feature_deviation
    from robustcl.measures.distances import Distance
    from robustcl.measures.divergence import Divergence, feature_divergence, relative_divergence
    from robustcl.measures.drops import ProbabilityDrop, class_probability_drop, relative_drop
    from robustcl.measures.entropies import neighbour_entropy, prediction_entropy
    from robustcl.measures.hypersphere import alignment, uniformity
    from robustcl.measures.inputs import InputLandscape, input_landscape
    from robustcl.measures.inversion import Inversion, component_maximum, feature_inversion
    from robustcl.measures.linear import Separability, linear_separability
    from robustcl.measures.map import t_sne
    from robustcl.measures.silhouette import Silhouettes, silhouettes
    from robustcl.measures.weights import WeightLandscape, filter_normalised, weight_landscape

__all__ = [
    "ClassDistances",
    "Distance",
    "Divergence",
    "InputLandscape",
    "Inversion",
    "ProbabilityDrop",
    "Separability",
    "Silhouettes",
    "WeightLandscape",
    "alignment",
    "class_distances",
    "class_probability_drop",
    "component_maximum",
    "effective_rank",
    "feature_deviation",
    "feature_divergence",
    "feature_inversion",
    "filter_normalised",
    "input_landscape",
    "linear_separability",
    "neighbour_entropy",
    "prediction_entropy",
    "relative_divergence",
    "relative_drop",
    "silhouettes",
    "t_sne",
    "uniformity",
    "weight_landscape",
]

_HOMES = {
    "classes": ("ClassDistances", "class_distances"),
    "collapse": ("effective_rank", "feature_deviation"),
    "distances": ("Distance",),
    "divergence": ("Divergence", "feature_divergence", "relative_divergence"),
    "drops": ("ProbabilityDrop", "class_probability_drop", "relative_drop"),
    "entropies": ("neighbour_entropy", "prediction_entropy"),
    "hypersphere": ("alignment", "uniformity"),
    "inputs": ("InputLandscape", "input_landscape"),
    "inversion": ("Inversion", "component_maximum", "feature_inversion"),
    "linear": ("Separability", "linear_separability"),
    "map": ("t_sne",),
    "silhouette": ("Silhouettes", "silhouettes"),
    "weights": ("WeightLandscape", "filter_normalised", "weight_landscape"),
}
"""Module -> what it exports. No module bears the name of an export: importing it would hide the export."""


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            import importlib

            value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
