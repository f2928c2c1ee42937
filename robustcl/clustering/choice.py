"""How many clusters: the number whose clustering has the best mean silhouette."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from robustcl.clustering.coefficients import silhouette
from robustcl.errors import UsageError
from robustcl.options.arrays import tensor, whole


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen number of clusters, and (K, mean silhouette) for the whole grid in ascending order."""

    clusters: int
    curve: tuple[tuple[int, float], ...]


def choose(features: Tensor, grid: Sequence[int], fit: Callable[[int], Tensor]) -> Choice:
    """Return the K of the grid with the best mean cosine silhouette; of equals, the smallest.

    ``features`` are (n, F); ``fit(K)`` clusters them and returns the assignment, (n,) int64. A K named twice
    is tried once.

    Raises:
        UsageError: an empty grid, or a K below 2 or above n.
    """
    features, grid = tensor(features, "features"), [whole(k, "a number of clusters", least=0) for k in grid]
    if not grid:
        raise UsageError("the grid of cluster numbers is empty: name at least one, for example 10")
    outside = [k for k in grid if not 2 <= k <= len(features)]
    if outside:
        raise UsageError(
            f"the grid of cluster numbers holds {', '.join(map(str, outside))}, but {len(features)} "
            f"feature rows allow 2 to {len(features)}: leave out the others"
        )
    curve = tuple((k, float(silhouette(features, fit(k), clusters=k).mean())) for k in sorted(set(grid)))
    best = max(curve, key=lambda point: (point[1], -point[0]))
    return Choice(best[0], curve)
