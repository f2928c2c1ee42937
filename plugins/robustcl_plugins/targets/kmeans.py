"""Euclidean k-means, by scikit-learn."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar, Literal

import sklearn.cluster
import torch
import torch.nn.functional as F
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from robustcl.clustering import unit_rows
from robustcl.errors import UsageError
from robustcl.options import Count, NonNegative
from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl.types import Clustering


class KMeans:
    """Clusters by squared distance: rows join the nearest centroid, centroids are the means of their rows.

    Minimises sum_i |x_i - C_own(i)|^2 over features x (n, F) and centroids C (K, F), whose lengths are those of the
    means; that sum is the clustering's ``inertia``. DynACL++ takes its pseudo-labels from it. ``confidence`` is the
    cosine to the own centroid, as with the spherical targets. It runs on the CPU, in float64.

    Args:
        seeding: ``k-means++`` (greedy), or ``random`` rows, as in DynACL's released code.
        iterations: the most often that the centroids move.
        tolerance: stop once the centroids' squared movement is at most this share of the features' mean variance.
        restarts: how many seedings to try; the lowest inertia wins.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.FEATURES})
    citation: ClassVar[str] = (
        "Lloyd, Least Squares Quantization in PCM, IEEE Transactions on Information Theory 1982; seeding: Arthur and "
        "Vassilvitskii, k-means++, SODA 2007; as pseudo-labels in Luo, Wang and Wang, Rethinking the Effect of Data "
        "Augmentation in Adversarial Contrastive Learning, ICLR 2023 (DynACL++); by Pedregosa et al., "
        "Scikit-learn, JMLR 2011"
    )

    def __init__(
        self,
        *,
        seeding: Literal["k-means++", "random"] = "k-means++",
        iterations: Count = 300,
        tolerance: NonNegative = 1e-4,
        restarts: Count = 1,
    ) -> None:
        self.seeding = seeding
        self.iterations = iterations
        self.tolerance = tolerance
        self.restarts = restarts

    def fit(self, features: Tensor, clusters: tuple[int, ...], rng: Rng) -> Clustering:
        """Cluster features (n, F) once for each K; the result is where the features are.

        Raises:
            UsageError: features that are no finite matrix, or a K that the rows cannot fill.
        """
        unit = unit_rows(features)
        rows = features.detach().to("cpu", torch.float64)
        fits = [self._fit(rows, k, rng.child("clusters", k)) for k in clusters]
        centroids = tuple(fit.centroids.to(unit) for fit in fits)
        assignment = torch.stack([fit.assignment for fit in fits]).to(features.device)
        provenance: dict[str, str | int | float] = {"algorithm": "k-means, scikit-learn", "seeding": self.seeding}
        provenance |= {"rows": features.shape[0], "features": features.shape[1]}
        provenance |= {f"iterations of {k}": fit.iterations for k, fit in zip(clusters, fits, strict=True)}
        return Clustering(
            centroids=centroids,
            assignment=assignment,
            confidence=torch.stack(
                [(unit * F.normalize(c)[own]).sum(dim=1) for c, own in zip(centroids, assignment, strict=True)]
            ),
            inertia=tuple(fit.inertia for fit in fits),
            provenance=provenance,
        )

    def _fit(self, rows: Tensor, clusters: int, rng: Rng) -> _Fit:
        if not 1 <= clusters <= len(rows):
            raise _too_many(rows, clusters)
        model = sklearn.cluster.KMeans(
            n_clusters=clusters,
            init=self.seeding,
            n_init=self.restarts,
            max_iter=self.iterations,
            tol=self.tolerance,
            random_state=rng.seed(),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the iterations are in the provenance
            model.fit(rows.numpy())
        if len(set(model.labels_.tolist())) < clusters:
            raise _too_many(rows, clusters)
        return _Fit(
            torch.from_numpy(model.cluster_centers_),
            torch.from_numpy(model.labels_).long(),
            float(model.inertia_),
            int(model.n_iter_),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    centroids: Tensor
    assignment: Tensor
    inertia: float
    iterations: int


def _too_many(rows: Tensor, clusters: int) -> UsageError:
    distinct = len(torch.unique(rows, dim=0))
    return UsageError(
        f"{clusters} clusters cannot be made of {len(rows)} feature rows, {distinct} of them different: "
        f"ask for 1 to {distinct}"
    )
