"""Distances from rows to all rows of each class, without holding n x n numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from robustcl.clustering.rows import cluster_sums, unit_rows
from robustcl.errors import UsageError, near

Distance = Literal["cosine", "L1", "L2", "Linf"]
"""1 - cosine, in [0, 2]; or the norm of the difference, in [0, inf)."""

_NORMS: Mapping[str, float] = MappingProxyType({"L1": 1.0, "L2": 2.0, "Linf": math.inf})


def require_known(distance: str) -> None:
    """Raise ``UsageError`` for a distance that is none of ``Distance``."""
    known = ("cosine", *_NORMS)
    if distance not in known:
        raise UsageError(
            f"the distance {distance!r} is unknown{near(distance, known)}: write one of {', '.join(known)}"
        )


def row_distance(a: Tensor, b: Tensor, distance: Distance) -> Tensor:
    """Return the distance between row i of a (n, F) and row i of b (n, F), (n,).

    A row of zeros has no direction: its cosine distance to every row is 1, also to itself.
    """
    if distance == "cosine":
        return (1 - (unit_rows(a) * unit_rows(b)).sum(dim=1)).clamp_(min=0.0)
    scale = scale_of(a, b)
    length: Tensor = torch.linalg.vector_norm(a / scale - b / scale, ord=_NORMS[distance], dim=1) * scale
    return length


def class_sums(rows: Tensor, others: Tensor, own: Tensor, classes: int, distance: Distance, chunk: int) -> Tensor:
    """Return the sum of the distances from each row to all ``others`` of each class, (n, L).

    For the cosine that is |C| - u . sum(C), in O(n L F); for a norm every pair is visited, ``chunk`` x ``chunk`` at a
    time.

    Args:
        rows: (n, F), float64.
        others: (m, F), float64.
        own: (m,) the others' classes, 0 to L - 1.
        classes: L.
    """
    if distance == "cosine":
        mean = cluster_sums(unit_rows(others), own, classes)
        return torch.bincount(own, minlength=classes) - unit_rows(rows) @ mean.T
    member = torch.nn.functional.one_hot(own, classes).to(rows.dtype)
    scale = scale_of(rows, others)
    others, parts = others / scale, torch.split(rows / scale, chunk)
    return torch.cat([_norm_sums(part, others, member, _NORMS[distance], chunk) for part in parts]) * scale


def _norm_sums(part: Tensor, others: Tensor, member: Tensor, norm: float, chunk: int) -> Tensor:
    total = part.new_zeros(len(part), member.shape[1])
    for other, belongs in zip(torch.split(others, chunk), torch.split(member, chunk), strict=True):
        # Differences, not |a|^2 - 2ab + |b|^2: that loses the digits of rows that lie close together.
        total += torch.cdist(part, other, p=norm, compute_mode="donot_use_mm_for_euclid_dist") @ belongs
    return total


def scale_of(*rows: Tensor) -> float:
    """Return what to divide by before differences are squared: 1, but for numbers whose squares are infinite or 0."""
    largest = max(float(each.abs().max()) for each in rows)
    return largest if largest > 0.0 and not 1e-100 < largest < 1e100 else 1.0


def drop_rounding(mean: Tensor, distance: Distance) -> Tensor:
    """Return mean distances with what is rounding alone set to 0: a cosine of 1 is known to about 1e-16."""
    return torch.where(mean < 1e-12, 0.0, mean) if distance == "cosine" else mean.clamp(min=0.0)
