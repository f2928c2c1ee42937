"""AdvCL's supervision without labels: predict the clusters of several clusterings, with a linear head for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcl.contrast import wide
from robustcl.errors import UsageError
from robustcl.protocols import Need
from robustcl.types import Dims, Scene


class PseudoLabel(nn.Module):
    """Mean over the clusterings k of the cross-entropy CE(FC_k(h), c_k), where c_k is the image's cluster.

    h (B, F) are the features of the view ``input``; FC_k is a linear head F -> K_k that belongs to this objective, one
    for each number in the stage's ``targets.clusters``. The clusters are of the image in the data set, not of this
    view of it. Without options; the recipe's ``weight`` is the paper's lambda.

    Term ``pseudo``: (B,).
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.FEATURES, Need.CLUSTERS, Need.INDEX})
    citation: ClassVar[str] = (
        "Fan, Liu, Chen, Zhang and Gan, When Does Contrastive Learning Preserve Adversarial Robustness from "
        "Pretraining to Finetuning?, NeurIPS 2021, section 5 (the loss of ClusterFit's pseudo labels)"
    )
    views: ClassVar[tuple[str, ...]] = ("input",)
    terms: ClassVar[tuple[str, ...]] = ("pseudo",)
    separable: ClassVar[bool] = True
    known_clusters: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()

    def build(self, dims: Dims) -> None:
        """Make a head for each clustering, in torch's own initialisation."""
        self.heads = nn.ModuleList(nn.Linear(dims.features, clusters) for clusters in dims.clusters)

    def per_sample(self, scene: Scene) -> Mapping[str, Tensor]:
        self._check(tuple(len(centroids) for centroids in scene.clusters.centroids))
        features = wide(scene.views["input"].h)
        clusters = scene.clusters.assignment[:, scene.batch.index.to(scene.clusters.assignment.device)]
        losses = [
            F.cross_entropy(
                F.linear(features, head.weight.to(features.dtype), head.bias.to(features.dtype)),
                own.to(features.device),
                reduction="none",
            )
            for head, own in zip(self._linear(), clusters, strict=True)
        ]
        return {"pseudo": torch.stack(losses).mean(dim=0)}

    def _linear(self) -> list[nn.Linear]:
        return [head for head in self.heads if isinstance(head, nn.Linear)]

    def _check(self, clusters: tuple[int, ...]) -> None:
        heads = tuple(head.out_features for head in self._linear())
        if heads != clusters:
            raise UsageError(
                f"pseudo-label: its heads are for clusterings of {', '.join(map(str, heads))} clusters, but the "
                f"targets have {', '.join(map(str, clusters))}: set targets.clusters to what targets.init was made with"
            )
