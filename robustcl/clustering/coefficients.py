"""The exact mean silhouette of directions in O(n K) time instead of O(n^2).

For the cosine distance 1 - u.v of unit rows, the sum over a cluster C is |C| - u . sum(C): K sums replace all
pairs. Where all of a row's distances are so small that the subtraction leaves no digits, they are taken from
differences: the mean distance to C is (|u - m|^2 + the mean of |v - m|^2 over C) / 2, with m the mean of C.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustcl.clustering.rows import cluster_sums, require_finite, wide
from robustcl.errors import UsageError
from robustcl.options.arrays import tensor, whole


@torch.no_grad()
def silhouette(features: Tensor, assignment: Tensor, *, clusters: int | None = None, chunk: int = 512) -> Tensor:
    """Return every row's silhouette (b - a) / max(a, b) under the cosine distance, (n,) float64 in [-1, 1].

    a is the mean distance to the other rows of the own cluster, b the smallest mean distance to another
    cluster (Rousseeuw, J. Comput. Appl. Math. 20, 1987). A row alone in its cluster scores 0. Beyond the
    result, K x F sums and chunk x (F + K) numbers are held.

    Args:
        features: (n, F); rows need not be normalised; a row of zeros has distance 1 to all others.
        assignment: (n,) numbers of any size that name each row's cluster, none below 0.
        clusters: K, above which no number of ``assignment`` may be; left out: no bound.
        chunk: rows compared with the clusters at once.

    Raises:
        UsageError: shapes that do not fit, features that are not finite, numbers outside 0 .. K - 1, or fewer
            than two clusters with rows.
    """
    chunk = whole(chunk, "chunk")
    features, own, count = _checked(features, assignment, clusters)
    sums = torch.zeros(len(count), features.shape[1], device=features.device, dtype=wide(features.device))
    parts = list(zip(torch.split(features, chunk), torch.split(own, chunk), strict=True))
    for part, label in parts:
        sums += cluster_sums(_unit(part), label, len(count))
    if not bool(torch.isfinite(sums).all()):
        require_finite(features)
    mean = sums / count[:, None]
    spread = torch.zeros(len(count), device=features.device, dtype=sums.dtype)
    for part, label in parts:
        unit = _unit(part)
        # A row of zeros has distance 1, not 1 / 2, to a unit row.
        apart = (unit - mean[label]).square().sum(1) + (1 - unit.square().sum(1)).round()
        spread += cluster_sums(apart[:, None], label, len(count))[:, 0]
    return torch.cat([_scores(_unit(part), label, mean, count, spread / count) for part, label in parts])


def _scores(unit: Tensor, own: Tensor, mean: Tensor, count: Tensor, spread: Tensor) -> Tensor:
    distance = 1 - unit @ mean.T
    near = (distance.amin(1) < _NEAR).nonzero()[:, 0]
    if len(near):
        apart = torch.cdist(unit[near], mean, compute_mode="donot_use_mm_for_euclid_dist").square()
        distance[near] = (apart + spread) / 2
    size = count[own]
    itself = (1 - unit.square().sum(dim=1)).round()  # 0, or 1 for a row of zeros
    inner = (size * distance.gather(1, own[:, None]).squeeze(1) - itself) / (size - 1).clamp(min=1)
    outer = distance.scatter_(1, own[:, None], torch.inf).amin(dim=1)
    larger = torch.maximum(inner, outer)
    # Rows that all point the same way have distances of rounding errors only.
    known = (size > 1) & (larger > _NOTHING)
    return torch.where(known, (outer - inner) / larger.clamp(min=_NOTHING), 0.0)


def _unit(part: Tensor) -> Tensor:
    rows = part.to(wide(part.device))
    largest = rows.abs().amax(dim=1, keepdim=True)
    rows = rows / torch.where(largest > 0, largest, 1.0)  # squares of huge and tiny numbers would be infinite or 0
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows / torch.where(length > 0, length, 1.0)


def _checked(features: Tensor, assignment: Tensor, clusters: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return features, each row's cluster counted from 0 without gaps (n,), and the clusters' sizes (L,)."""
    features, own = tensor(features, "a silhouette's features"), tensor(assignment, "a silhouette's assignments")
    own, clusters = own.to(features.device), None if clusters is None else whole(clusters, "clusters")
    if features.ndim != 2 or own.shape != features.shape[:1] or own.numel() == 0 or features.shape[1] == 0:
        raise UsageError(
            f"a silhouette needs features (n, F) and one cluster per row, not {tuple(features.shape)} and "
            f"{tuple(own.shape)}"
        )
    if own.is_floating_point() and not bool(own.isfinite().all()):
        raise UsageError("the assignment holds NaN or infinity: give a number for each row's cluster")
    own = own if own.is_floating_point() else own.long()
    low, high = own.min().item(), own.max().item()
    if low < 0 or (clusters is not None and high >= clusters):
        held = f"there are {clusters}" if clusters is not None else "none is negative"
        raise UsageError(f"the assignment holds clusters {low:g} to {high:g}, but {held}: count from 0")
    if low == high:
        raise UsageError(f"all {len(own)} rows are in cluster {low:g}: a silhouette needs at least two clusters")
    _, own, count = torch.unique(own, return_inverse=True, return_counts=True)
    return features, own, count


_NEAR = 1e-6
"""Below it a cosine distance has lost digits to the subtraction from 1."""
_NOTHING = 1e-27
"""Distances of unit rows below it are rounding alone: rows are known to about 1e-16."""
