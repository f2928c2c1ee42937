"""Spherical k-means in torch, on any device."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from robustcl.clustering import bundle, spherical_kmeans
from robustcl.options import Count, Fraction
from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl.types import Clustering


class SphericalKMeans:
    """Clusters directions: rows join the centroid of largest cosine, centroids are normalised means.

    Args:
        seeding: ``k-means++`` (greedy), or ``afk-mc2``, which is faster on large data and lands a little
            lower.
        iterations: the most often that the centroids move.
        tolerance: stop once at most this fraction of the rows changes its cluster.
        restarts: how many seedings to try; the lowest inertia wins.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.FEATURES})
    citation: ClassVar[str] = (
        "Dhillon and Modha, Concept Decompositions for Large Sparse Text Data Using Clustering, "
        "Machine Learning 2001, section 3.2; seedings: Arthur and Vassilvitskii, k-means++, SODA 2007; "
        "Bachem et al., Fast and Provably Good Seedings for k-Means, NeurIPS 2016, algorithm 1"
    )

    def __init__(
        self,
        *,
        seeding: Literal["k-means++", "afk-mc2"] = "k-means++",
        iterations: Count = 100,
        tolerance: Fraction = 0.001,
        restarts: Count = 1,
    ) -> None:
        self.seeding = seeding
        self.iterations = iterations
        self.tolerance = tolerance
        self.restarts = restarts

    def fit(self, features: Tensor, clusters: tuple[int, ...], rng: Rng) -> Clustering:
        """Cluster features (n, F) once for each K; each K draws from a stream of its own."""
        fits = [
            spherical_kmeans(
                features,
                k,
                rng.child("clusters", k),
                seeding=self.seeding,
                iterations=self.iterations,
                tolerance=self.tolerance,
                restarts=self.restarts,
            )
            for k in clusters
        ]
        provenance: dict[str, str | int | float] = {
            "algorithm": "spherical k-means, torch",
            "seeding": self.seeding,
        }
        provenance |= {"rows": features.shape[0], "features": features.shape[1]}
        provenance |= {f"iterations of {k}": fit.iterations for k, fit in zip(clusters, fits, strict=True)}
        return bundle(fits, provenance)
