"""Distances within and between classes, and their ratio."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from robustcl.clustering.rows import cluster_sums
from robustcl.errors import UsageError
from robustcl.measures import checked
from robustcl.measures.distances import Distance, class_sums, drop_rounding, require_known, row_distance


@dataclass(frozen=True, slots=True, eq=False)
class ClassDistances:
    """Mean distances over pairs of images.

    ratio: inter / intra, in [0, inf]; higher means classes that stand apart. ``inf`` where each class is one point,
        ``nan`` where all images are.
    intra: the mean over the pairs of two images of one class.
    inter: the mean over the pairs of images of two classes.
    table: (L, L) float64, the mean over the pairs of two classes, or within a class on the diagonal; nan on the
        diagonal for a class of one image.
    classes: (L,) int64, the labels of the table's rows and columns, ascending.
    """

    ratio: float
    intra: float
    inter: float
    table: Tensor
    classes: Tensor


@torch.no_grad()
def class_distances(
    features: Tensor, label: Tensor, *, distance: Distance = "cosine", chunk: int = 512
) -> ClassDistances:
    """Return the mean distances within and between classes, over all pairs, and the ratio of the two.

    Source: Gupta et al., Contrastive self-supervised learning leads to higher adversarial susceptibility, 2022,
    claim 2 and figure 2 ("ratio of the average inter-class distance to the average intra-class distance": 1.98 for
    supervised, 1.19 for self-supervised contrastive learning on CIFAR-10; the table is its class heat map). The paper
    does not name its distance, and the ratio depends on it: compare equals with equals.

    Args:
        features: (n, F).
        label: (n,) whole numbers >= 0.
        distance: 1 - cosine, in O(n L) memory, or a norm of the difference, ``chunk`` x ``chunk`` pairs at a time.

    Raises:
        UsageError: shapes that do not fit, values that are not finite, missing labels, only one class, or no class
            with two images.
    """
    require_known(distance)
    chunk = checked.at_least_one(chunk, "chunk")
    rows = checked.matrix(features)
    own, classes = checked.number_labels(label, rows)
    count = torch.bincount(own)
    if len(classes) < 2 or int(count.max()) < 2:
        raise UsageError(
            f"{len(rows)} images in {len(classes)} classes have no pairs within and between classes: give at least two "
            "classes, one of them with two images"
        )
    sums = class_sums(rows, rows, own, len(classes), distance, chunk)
    itself = row_distance(rows, rows, distance)[:, None]
    total = cluster_sums(sums, own, len(classes)) - cluster_sums(itself, own, len(classes)).squeeze(1).diag()
    pairs = count[:, None] * count - count.diag()
    table = torch.where(pairs > 0, drop_rounding(total / pairs.clamp(min=1), distance), torch.nan)
    weighted = torch.where(pairs > 0, table * pairs, 0.0)
    same, others = weighted.diag().sum(), weighted.sum() - weighted.diag().sum()
    intra = float(same / pairs.diag().sum())
    inter = float(others / (pairs.sum() - pairs.diag().sum()))
    return ClassDistances(_ratio(inter, intra), intra, inter, table, classes)


def _ratio(inter: float, intra: float) -> float:
    if intra > 0:
        return inter / intra
    return math.inf if inter > 0 else math.nan
