"""Incremental false negative detection: pseudo-labels of a clustering, the confident ones first."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from robustcl.options import Fraction
from robustcl.protocols import Need
from robustcl.types import Clustering, Pairs, Scene
from robustcl_plugins.selectors.detection import Detected, instance_pairs, resolved


class IFND:
    """Two images are a false negative pair where both have an accepted pseudo-label, and it is the same.

    The pseudo-label of an image is its cluster. It is accepted if the image is among the most confident share of the
    whole data set; confidence is the cosine to the own centroid. The share grows during training: write accept =
    { linear = [0.0, 1.0] }. With several clusterings (``targets.clusters = [10, 50]``) pairs are detected at several
    levels of detail. Masks and weights are (N, M).

    The paper's confidence is a softmax over all centroids; the ranking by cosine needs no temperature.

    accept: the share of the data set whose pseudo-labels are accepted, in each clustering by itself.
    detected: ``eliminate`` leaves detected pairs out, ``attract`` makes them positives.
    levels: what several clusterings say together: ``share`` weighs a pair by the share of them that detect it,
        ``any`` and ``all`` ask for one of them or for each.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.CLUSTERS, Need.INDEX})
    citation: ClassVar[str] = (
        "Chen, Hung, Tseng, Chien and Yang, Incremental False Negative Detection for Contrastive Learning, ICLR 2022, "
        "elimination and attraction of pairs with the same accepted pseudo-label"
    )
    detects: ClassVar[bool] = True

    def __init__(
        self,
        *,
        accept: Fraction = 1.0,
        detected: Detected = "eliminate",
        levels: Literal["share", "any", "all"] = "share",
    ) -> None:
        self.accept = accept
        self.detected = detected
        self.levels = levels

    def select(self, scene: Scene) -> Pairs:
        positive, negative = instance_pairs(scene)
        label = pseudo_labels(scene.clusters, self.accept)
        anchor, column = label[:, scene.rows.index, None], label[:, None, scene.columns.index]
        found = (anchor == column) & (anchor >= 0) & negative
        if self.levels != "share" or len(found) == 1:
            together = found.all(0) if self.levels == "all" else found.any(0)
            return resolved(positive, negative, together, self.detected)
        share = found.to(scene.clusters.confidence.dtype).mean(0)
        attracted = share if self.detected == "attract" else torch.zeros_like(share)
        return Pairs(positive=positive + attracted, negative=negative.to(share.dtype) - share)


def pseudo_labels(clusters: Clustering, accept: float) -> Tensor:
    """Return the clusters (I, n) of all images, -1 where the label is not among the most confident share."""
    order = clusters.confidence.argsort(dim=1, descending=True, stable=True)
    accepted = order[:, : round(accept * order.shape[1])]
    label = torch.full_like(clusters.assignment, -1)
    return label.scatter(1, accepted, clusters.assignment.gather(1, accepted))
