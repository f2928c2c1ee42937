"""The mathematics that contrastive objectives share: similarities, and log-sum-exp over chosen pairs.

Everything is computed in float32 (float64 where the embeddings are float64), outside autocast, with the
maximum taken out before the exponential; so temperatures down to 0.01 stay finite. Pairs are (N, M) masks, or
weights >= 0 that multiply the exponentials; see ``robustcl.types.Pairs``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from robustcl.errors import UsageError
from robustcl.protocols import Need
from robustcl.types import Rows, Scene

LAYERS = {"h": Need.FEATURES, "z": Need.PROJECTION, "logits": Need.PREDICTIONS}
"""The need behind each layer of an embedding."""


Similarity = Literal["cosine", "Linf", "L2", "L1"]
"""The cosine, or minus a distance."""

_NORMS: Mapping[str, float] = MappingProxyType({"Linf": math.inf, "L2": 2.0, "L1": 1.0})


class LayerNeeds:
    """The ``needs`` of a plugin that reads the layer its option ``layer`` names.

    On the class it answers for the default layer, on an instance for the layer chosen:
    ``needs = LayerNeeds("z", Need.PAIRS)``.
    """

    def __init__(self, default: str, *others: Need) -> None:
        self.default, self.others = default, others

    def __get__(self, plugin: Any, owner: type) -> frozenset[Need]:
        layer = self.default if plugin is None else plugin.layer
        return frozenset({LAYERS[layer], *self.others})


def wide(x: Tensor) -> Tensor:
    """Return x in float32, or as it is if it is float64."""
    return x if x.dtype == torch.float64 else x.float()


def unit(x: Tensor) -> Tensor:
    """Return the rows of x (R, F) at length 1; a zero row stays zero and passes its gradient on unscaled."""
    x = wide(x)
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / torch.where(length > 0, length, 1.0)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Return the cosines (N, M) between the rows of a (N, F) and of b (M, F)."""
    with torch.autocast(a.device.type, enabled=False):
        left = unit(a)
        return left @ (left if b is a else unit(b)).T


def similarities(a: Tensor, b: Tensor, kind: Similarity, *, unit_length: bool = False) -> Tensor:
    """Return how alike the rows of a (N, F) and of b (M, F) are, (N, M): their cosine, or -||a_i - b_j||_p.

    ``unit_length`` divides each row by its L2 norm before the distance is taken; a cosine is the same either way. A
    distance of 0 has the gradient 0.
    """
    if kind == "cosine":
        return cosine(a, b)
    with torch.autocast(a.device.type, enabled=False):
        left, right = (unit(a), unit(b)) if unit_length else (wide(a), wide(b))
        # Differences, not |a|^2 - 2ab + |b|^2: that loses the digits of rows that lie close together.
        return -torch.cdist(left, right, p=_NORMS[kind], compute_mode="donot_use_mm_for_euclid_dist")


def cosine_rows(a: Tensor, b: Tensor) -> Tensor:
    """Return the cosine (R,) between row i of a (R, F) and row i of b (R, F).

    Raises:
        UsageError: features of two encoders that differ in width.
    """
    if a.shape != b.shape:
        raise UsageError(
            f"features of widths {a.shape[-1]} and {b.shape[-1]} cannot be compared: teacher and student must have "
            "the same number of features"
        )
    return (unit(a) * unit(b)).sum(dim=-1)


def candidates(scene: Scene) -> Rows:
    """Return the M columns that the scene's pairs speak of: the selector's own, or else the scene's."""
    columns: Rows = scene.pairs.columns if scene.pairs.has("columns") else scene.columns
    return columns


def log_sum_exp(similarity: Tensor, weight: Tensor) -> Tensor:
    """Return log sum_j weight_j exp(similarity_j), (N,).

    ``weight`` (N, M) is bool or >= 0. A row without any weight gives the lowest finite number, with gradient
    zero.
    """
    lowest = torch.finfo(similarity.dtype).min
    if weight.dtype != torch.bool:
        similarity = similarity + torch.where(weight > 0, weight, 1.0).log().to(similarity.dtype)
        weight = weight > 0
    return similarity.masked_fill(~weight, lowest).logsumexp(dim=1)


def loss_outside(similarity: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Return each anchor's -log softmax, averaged over its positives outside the logarithm, (N,).

    L_out of Khosla et al., Supervised Contrastive Learning, NeurIPS 2020, eq. 2; the softmax runs over
    positives and negatives. An anchor without positives gives exactly 0 with gradient 0.
    """
    count = positive.sum(dim=1).to(similarity.dtype)
    chosen = torch.where(positive, similarity, 0.0) if positive.dtype == torch.bool else similarity * positive
    mean = chosen.sum(dim=1) / torch.where(count > 0, count, 1.0)
    return torch.where(count > 0, log_sum_exp(similarity, positive + negative) - mean, 0.0)


def loss_inside(similarity: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Return each anchor's -log of the softmax mass on its positives together, (N,).

    An anchor without positives gives exactly 0 with gradient 0.
    """
    mass = log_sum_exp(similarity, positive + negative) - log_sum_exp(similarity, positive)
    return torch.where((positive > 0).any(dim=1), mass, 0.0)
