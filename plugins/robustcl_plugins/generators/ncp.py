"""Nearest-cluster perturbation: away from the own cluster, toward a neighbouring one."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import Tensor

from robustcl import search
from robustcl.contrast import cosine, cosine_rows
from robustcl.errors import UsageError
from robustcl.options import Count, Length
from robustcl.protocols import Need
from robustcl.types import Attack

_PULLS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"away": (1.0, 0.0), "toward": (0.0, 1.0), "both": (1.0, 1.0)}
)
"""How much each strategy leaves the own centroid and approaches the other."""


class NCP:
    """Maximises -cos(f(x + d), C_own) + cos(f(x + d), C_n) over the cluster centroids C, without labels.

    strategy: the paper's (i) "away" from the own centroid, (ii) "toward" the neighbour, (iii) "both", eq. 4.
    neighbour: n, where 2 is the cluster nearest to the clean features f(x) besides the own, 3 the next, and
    so on; the paper tries 2 to 5. The own cluster is the one assigned to the image in the data set, not to
    this view of it. clustering: which of several clusterings to use. steps, step_size, start: as in PGD.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.FEATURES, Need.CLUSTERS, Need.INDEX})
    citation: ClassVar[str] = (
        "Anonymous authors, Cluster-Driven Adversarial Perturbations for Robust Contrastive Learning,"
        " double-blind submission without a date (its newest reference is of 2023), eq. 4 and appendix B.2"
    )

    def __init__(
        self,
        *,
        strategy: Literal["away", "toward", "both"] = "both",
        neighbour: Annotated[int, Ge(2)] = 2,
        clustering: Annotated[int, Ge(0)] = 0,
        steps: Count = 5,
        step_size: Length = 2 / 255,
        start: Literal["none", "uniform"] = "uniform",
    ) -> None:
        self.strategy = strategy
        self.neighbour = neighbour
        self.clustering = clustering
        self.steps = steps
        self.step_size = step_size
        self.start = start

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        own, other = self._targets(attack)
        leave, approach = _PULLS[self.strategy]

        def objective(candidates: Tensor) -> Tensor:
            features = attack.encode(candidates).h
            return approach * cosine_rows(features, other) - leave * cosine_rows(features, own)

        return search.ascend(
            x,
            objective,
            attack.ball,
            steps=self.steps,
            step_size=self.step_size,
            rng=attack.rng,
            start=self.start,
        )

    def check_clusters(self, clusters: tuple[int, ...]) -> None:
        """Refuse clusterings of these sizes where the one to use, or the neighbour in it, does not exist.

        Raises:
            UsageError: what does not exist.
        """
        if self.clustering >= len(clusters):
            raise UsageError(f"ncp: clustering = {self.clustering}, but there are {len(clusters)}, from 0 on")
        if self.neighbour > clusters[self.clustering]:
            raise UsageError(
                f"ncp: neighbour = {self.neighbour} needs as many clusters, but there are {clusters[self.clustering]}:"
                " lower neighbour or raise the targets' clusters"
            )

    def _targets(self, attack: Attack) -> tuple[Tensor, Tensor]:
        """Return each row's own centroid and its n-th nearest one, (R, F) each."""
        clusters = attack.clusters
        self.check_clusters(tuple(len(centroids) for centroids in clusters.centroids))
        centroids = clusters.centroids[self.clustering]
        own = clusters.assignment[self.clustering].to(attack.index.device)[attack.index]
        nearness = cosine(attack.clean().h, centroids).scatter(1, own[:, None], -torch.inf)
        other = nearness.topk(self.neighbour - 1, dim=1).indices[:, -1]
        return centroids[own], centroids[other]
