"""Spherical k-means on an NVIDIA GPU with RAPIDS cuML."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from robustcl.clustering import SEEDINGS, KMeans, bundle, lloyd, require_fillable, unit_rows
from robustcl.errors import UsageError
from robustcl.options import Count, Fraction
from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl.types import Clustering


class SphericalKMeansCuml:
    """cuML's k-means on unit rows, brought to a fixed point of spherical k-means.

    On unit rows the squared distance is 2 (1 - cosine), so cuML's means differ from the spherical centroids
    in length alone; they are normalised, and a few spherical iterations settle the rows that this moves.

    Args:
        seeding: ``k-means++`` and ``afk-mc2`` start from the same rows as the torch target; ``k-means||`` is
            cuML's own.
        iterations: the most often that cuML moves the centroids, and again the spherical iterations.
        tolerance: the spherical iterations stop once at most this fraction of the rows changes its cluster.
        restarts: how many seedings to try; the lowest inertia wins.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.FEATURES})
    citation: ClassVar[str] = (
        "Raschka, Patterson and Nolet, Machine Learning in Python, Information 2020 (RAPIDS cuML); "
        "Dhillon and Modha, Concept Decompositions for Large Sparse Text Data Using Clustering, "
        "Machine Learning 2001, section 3.2; "
        "k-means||: Bahmani et al., Scalable K-Means++, VLDB 2012"
    )
    device: ClassVar[str] = "cuda"

    def __init__(
        self,
        *,
        seeding: Literal["k-means++", "afk-mc2", "k-means||"] = "k-means++",
        iterations: Count = 100,
        tolerance: Fraction = 0.001,
        restarts: Count = 1,
    ) -> None:
        self.seeding = seeding
        self.iterations = iterations
        self.tolerance = tolerance
        self.restarts = restarts

    @staticmethod
    def available() -> str | None:
        """Return None where cuML runs, else a sentence saying why it does not and what to do."""
        instead = "or use the target spherical-kmeans, which runs everywhere"
        if importlib.util.find_spec("cuml") is None:
            return f"cuML is not installed: pip install 'robustcl[cuml]' on Linux with an NVIDIA GPU, {instead}"
        if not torch.cuda.is_available():
            return f"cuML needs an NVIDIA GPU and torch sees none: check the driver and torch's build, {instead}"
        try:
            importlib.import_module("cuml.cluster")
        except Exception as error:  # a broken CUDA installation raises anything at all
            return f"cuML is installed but cannot be imported ({error}): reinstall 'robustcl[cuml]', {instead}"
        return None

    def estimator(self, **settings: Any) -> Any:
        """Return cuML's estimator; its results are CuPy arrays."""
        return importlib.import_module("cuml.cluster").KMeans(output_type="cupy", **settings)

    def fit(self, features: Tensor, clusters: tuple[int, ...], rng: Rng) -> Clustering:
        """Cluster features (n, F) once for each K; the result is where the features are.

        Raises:
            UsageError: cuML cannot run here, or the features or a K cannot be clustered.
        """
        reason = self.available()
        if reason is not None:
            raise UsageError(reason)
        unit = unit_rows(features.to(self.device))
        fits = [self._best(unit, k, rng.child("clusters", k)) for k in clusters]
        here = [_to(fit, features.device) for fit in fits]
        provenance: dict[str, str | int | float] = {
            "algorithm": "spherical k-means, cuML",
            "seeding": self.seeding,
        }
        provenance |= {"rows": features.shape[0], "features": features.shape[1]}
        return bundle(here, provenance)

    def _best(self, unit: Tensor, clusters: int, rng: Rng) -> KMeans:
        require_fillable(unit, clusters)
        fits = [self._once(unit, clusters, rng.child("restart", restart)) for restart in range(self.restarts)]
        return min(fits, key=lambda fit: fit.inertia)

    def _once(self, unit: Tensor, clusters: int, rng: Rng) -> KMeans:
        seeding = SEEDINGS.get(self.seeding)
        start = self.seeding if seeding is None else unit[seeding(unit, clusters, rng)]
        model = self.estimator(
            n_clusters=clusters, init=start, n_init=1, max_iter=self.iterations, random_state=rng.seed()
        )
        centres = torch.as_tensor(model.fit(unit).cluster_centers_, device=unit.device)
        return lloyd(unit, centres, iterations=self.iterations, tolerance=self.tolerance)


def _to(fit: KMeans, device: torch.device) -> KMeans:
    return KMeans(
        fit.centroids.to(device),
        fit.assignment.to(device),
        fit.confidence.to(device),
        fit.inertia,
        fit.iterations,
        fit.converged,
    )
