"""The exact mean silhouette of directions in O(n K) time instead of O(n^2).

For the cosine distance 1 - u.v of unit rows, the sum over a cluster C is |C| - u . sum(C): K sums replace all
pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustcl.clustering.rows import cluster_sums, require_finite, wide
from robustcl.errors import UsageError


@torch.no_grad()
def silhouette(features: Tensor, assignment: Tensor, *, clusters: int | None = None, chunk: int = 512) -> Tensor:
    """Return every row's silhouette (b - a) / max(a, b) under the cosine distance, (n,) float64 in [-1, 1].

    a is the mean distance to the other rows of the own cluster, b the smallest mean distance to another
    cluster (Rousseeuw, J. Comput. Appl. Math. 20, 1987). A row alone in its cluster scores 0. Beyond the
    result, K x F sums and chunk x (F + K) numbers are held.

    Args:
        features: (n, F); rows need not be normalised; a row of zeros has distance 1 to all others.
        assignment: (n,) integers from 0 to K - 1; clusters without rows are left out.
        clusters: K; the largest number in ``assignment`` plus 1 if not given.
        chunk: rows compared with the clusters at once.

    Raises:
        UsageError: shapes that do not fit, features that are not finite, numbers outside 0 .. K - 1, or fewer
            than two clusters with rows.
    """
    own = assignment.to(features.device, torch.int64)
    clusters = _require_clusters(features, own, clusters)
    count = torch.bincount(own, minlength=clusters)
    sums = torch.zeros(clusters, features.shape[1], device=features.device, dtype=wide(features.device))
    for part, label in zip(torch.split(features, chunk), torch.split(own, chunk), strict=True):
        sums += cluster_sums(_unit(part), label, clusters)
    if not bool(torch.isfinite(sums).all()):
        require_finite(features)
    mean = sums / count[:, None].clamp(min=1)
    parts = zip(torch.split(features, chunk), torch.split(own, chunk), strict=True)
    return torch.cat([_scores(_unit(part), label, mean, count) for part, label in parts])


def _scores(unit: Tensor, own: Tensor, mean: Tensor, count: Tensor) -> Tensor:
    distance = 1 - unit @ mean.T
    size = count[own]
    itself = 1 - unit.square().sum(dim=1)  # 0, or 1 for a row of zeros
    total = size * distance.gather(1, own[:, None]).squeeze(1) - itself
    inner = total / (size - 1).clamp(min=1)
    distance[:, count == 0] = torch.inf
    outer = distance.scatter_(1, own[:, None], torch.inf).amin(dim=1)
    larger = torch.maximum(inner, outer)
    # Rows that all point the same way have distances of rounding errors only.
    known = (size > 1) & (larger > 1e-12)
    return torch.where(known, (outer - inner) / larger.clamp(min=1e-12), 0.0)


def _unit(part: Tensor) -> Tensor:
    rows = part.detach().to(wide(part.device))
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows / torch.where(length > 0, length, 1.0)


def _require_clusters(features: Tensor, own: Tensor, clusters: int | None) -> int:
    if features.ndim != 2 or own.shape != features.shape[:1] or len(own) == 0:
        raise UsageError(
            f"a silhouette needs features (n, F) and one cluster per row, not {tuple(features.shape)} and "
            f"{tuple(own.shape)}"
        )
    low, high = int(own.min()), int(own.max())
    clusters = high + 1 if clusters is None else clusters
    if low < 0 or high >= clusters:
        raise UsageError(f"the assignment holds clusters {low} to {high}, but there are {clusters}: count from 0")
    if low == high:
        raise UsageError(f"all {len(own)} rows are in cluster {low}: a silhouette needs at least two clusters")
    return clusters
