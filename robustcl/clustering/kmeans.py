"""Spherical k-means: clusters of directions, with unit centroids (Dhillon and Modha, 2001)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robustcl.clustering.rows import cluster_sums, require_fillable, unit_rows, wide
from robustcl.clustering.seeding import SEEDINGS
from robustcl.errors import UsageError
from robustcl.options.arrays import number, whole
from robustcl.rng import Rng
from robustcl.types import Clustering


@dataclass(frozen=True, slots=True, eq=False)
class KMeans:
    """One clustering of n rows into K.

    centroids: (K, F) unit rows; assignment: (n,) int64; confidence: (n,), the cosine to the own centroid;
    inertia: the sum of 1 - cosine; iterations: how often the centroids moved; converged: not cut off.
    """

    centroids: Tensor
    assignment: Tensor
    confidence: Tensor
    inertia: float
    iterations: int
    converged: bool


@torch.no_grad()
def spherical_kmeans(
    features: Tensor,
    clusters: int,
    rng: Rng,
    *,
    seeding: str = "k-means++",
    iterations: int = 100,
    tolerance: float = 0.001,
    restarts: int = 1,
    chunk: int = 4096,
) -> KMeans:
    """Cluster the directions of features (n, F) into K, none of them empty; return the best of the restarts.

    Args:
        features: finite numbers of any length per row; rows of zeros move no centroid.
        clusters: K, from 1 to the number of nonzero rows.
        rng: the same stream gives the same clusters.
        seeding: a key of ``SEEDINGS``.
        iterations: the most often that the centroids move; 0 returns the seeding's clusters.
        tolerance: stop once at most this fraction of the rows changes its cluster.
        restarts: how many seedings to try; the lowest inertia wins.
        chunk: rows compared with the centroids at once: chunk x K numbers are held.

    Raises:
        UsageError: features that are no finite matrix, a K that the rows cannot fill, or an unknown seeding.
    """
    unit, clusters = unit_rows(features), whole(clusters, "clusters", least=0)
    require_fillable(unit, clusters)
    if not isinstance(rng, Rng):
        raise UsageError(f"rng = {rng!r} is no stream: give robustcl.Rng(0), or a child of one")
    restarts, chunk = whole(restarts, "restarts"), whole(chunk, "chunk")
    iterations, tolerance = whole(iterations, "iterations", least=0), number(tolerance, "tolerance")
    if seeding not in SEEDINGS:
        raise UsageError(f"there is no seeding {seeding!r}: choose one of {', '.join(SEEDINGS)}")
    best: KMeans | None = None
    for restart in range(restarts):
        start = unit[SEEDINGS[seeding](unit, clusters, rng.child("restart", restart))]
        found = lloyd(unit, start, iterations=iterations, tolerance=tolerance, chunk=chunk)
        if best is None or found.inertia < best.inertia:
            best = found
    assert best is not None
    return best


@torch.no_grad()
def lloyd(unit: Tensor, start: Tensor, *, iterations: int = 100, tolerance: float = 0.001, chunk: int = 4096) -> KMeans:
    """Move centroids from ``start`` (K, F) to the normalised means of their rows until few rows change.

    ``unit`` (n, F) are unit rows, as ``unit_rows`` makes them, of which at least K are not zero. An empty
    cluster takes over the worst-fitting row, so the inertia never rises and no cluster stays empty.
    """
    holds = torch.linalg.vector_norm(unit, dim=1) > 0
    centroids, assignment, cosine = _settle(unit, holds, unit_rows(start.to(unit)), chunk)
    steps, changed = 0, 1.0
    while steps < iterations and changed > tolerance:
        centroids, moved, cosine = _settle(unit, holds, _means(unit, assignment, centroids, chunk), chunk)
        changed = int((moved != assignment).sum()) / len(unit)
        assignment = moved
        steps += 1
    inertia = float((1 - cosine.to(wide(unit.device))).sum())
    return KMeans(centroids, assignment, cosine, inertia, steps, changed <= tolerance)


def assign(unit: Tensor, centroids: Tensor, chunk: int = 4096) -> tuple[Tensor, Tensor]:
    """Return each unit row's nearest centroid, (n,) int64, and the cosine to it, (n,)."""
    columns = centroids.T
    nearest = [(part @ columns).max(dim=1) for part in torch.split(unit, chunk)]
    return torch.cat([n.indices for n in nearest]), torch.cat([n.values for n in nearest])


def bundle(fits: Sequence[KMeans], provenance: Mapping[str, str | int | float]) -> Clustering:
    """Return clusterings of the same rows, one per number of clusters, as the value that plugins read."""
    return Clustering(
        centroids=tuple(fit.centroids for fit in fits),
        assignment=torch.stack([fit.assignment for fit in fits]),
        confidence=torch.stack([fit.confidence for fit in fits]),
        inertia=tuple(fit.inertia for fit in fits),
        provenance=dict(provenance),
    )


def _settle(unit: Tensor, holds: Tensor, centroids: Tensor, chunk: int) -> tuple[Tensor, Tensor, Tensor]:
    """Assign all rows, then give each empty cluster the worst-fitting row of a cluster that can spare one."""
    assignment, cosine = assign(unit, centroids, chunk)
    count = torch.bincount(assignment[holds], minlength=len(centroids))
    empty = (count == 0).nonzero().flatten().tolist()
    if empty:
        centroids = centroids.clone()
    for cluster in empty:
        spare = holds & (count[assignment] > 1)
        row = int(torch.where(spare, cosine, torch.inf).argmin())
        count[assignment[row]] -= 1
        count[cluster] = 1
        centroids[cluster], assignment[row], cosine[row] = unit[row], cluster, 1.0
    return centroids, assignment, cosine


def _means(unit: Tensor, assignment: Tensor, centroids: Tensor, chunk: int) -> Tensor:
    """Return the normalised means; where the rows cancel out, any direction is as good: the old one stays."""
    sums = torch.zeros_like(centroids, dtype=wide(unit.device))
    for part, own in zip(torch.split(unit, chunk), torch.split(assignment, chunk), strict=True):
        sums += cluster_sums(part, own, len(centroids))
    length = torch.linalg.vector_norm(sums, dim=1, keepdim=True)
    count = torch.bincount(assignment, minlength=len(centroids))[:, None]
    return torch.where(length > 1e-6 * count, sums / length, centroids).to(unit.dtype)
