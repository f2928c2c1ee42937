"""How far images of a class lie from each other, beside how far the classes lie apart (R-DIV)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from robustcl.errors import UsageError
from robustcl.measures import checked
from robustcl.measures.distances import Distance, class_sums, drop_rounding, require_known, row_distance


@dataclass(frozen=True, slots=True, eq=False)
class Divergence:
    """The divergences of Bui et al., and what each anchor contributes.

    relative: R-DIV, d_r+ = intra / inter, in [0, inf]; lower goes with more robustness in the paper. ``nan`` where
        all features are the same point, ``inf`` where only the classes are.
    intra: d_a+, the absolute intra-class divergence; in [0, 2] for the cosine.
    inter: d_a-, the absolute inter-class divergence; in [0, 2] for the cosine.
    intra_each: (n,) float64, the mean distance of an anchor to its positive set; nan where that is empty.
    inter_each: (n,) float64, the same to its negative set.
    """

    relative: float
    intra: float
    inter: float
    intra_each: Tensor
    inter_each: Tensor


@torch.no_grad()
def relative_divergence(
    clean: Tensor,
    adversarial: Tensor,
    label: Tensor,
    *,
    distance: Distance = "cosine",
    batch: int | None = None,
    chunk: int = 512,
) -> Divergence:
    """Return R-DIV with its absolute parts, over all anchors.

    Source: Bui et al., Understanding and achieving efficient robustness with adversarial supervised contrastive
    learning, 2021, section 2 (i) and (ii). The anchor is the clean image i. Its positive set holds the clean and the
    adversarial images j != i of its class, its negative set those of other classes; its own adversarial version is
    in neither. An anchor whose set is empty is left out of that set's mean.

    Args:
        clean: (n, F), f(x_i).
        adversarial: (n, F), f of the adversarial version of the same images.
        label: (n,) whole numbers >= 0.
        distance: the paper's cosine distance, or a norm of the difference.
        batch: take the sets from the anchor's mini-batch of so many consecutive rows, as the paper's appendix 7 does
            with 128: shuffle them before, since rows sorted by class make batches of one class. All n images where
            not given, which the cosine makes exact in O(n L) memory.
        chunk: rows compared at once where the distance is a norm.

    Raises:
        UsageError: shapes that do not fit, values that are not finite, missing labels, or no anchor with a positive
            or none with a negative image (one class, or one image in each).
    """
    require_known(distance)
    first, second = checked.pair(clean, adversarial)
    own, _ = checked.number_labels(label, first)
    size = len(first) if batch is None else checked.at_least_one(batch, "batch")
    chunk = checked.at_least_one(chunk, "chunk")
    blocks = zip(torch.split(first, size), torch.split(second, size), torch.split(own, size), strict=True)
    parts = [_each(block, attacked, label, distance, chunk) for block, attacked, label in blocks]
    intra_each, inter_each = (torch.cat(columns) for columns in zip(*parts, strict=True))
    intra = _mean(intra_each, "two images of one class")
    inter = _mean(inter_each, "images of two classes")
    return Divergence(_ratio(intra, inter), intra, inter, intra_each, inter_each)


@torch.no_grad()
def feature_divergence(clean: Tensor, adversarial: Tensor, *, distance: Distance = "cosine") -> Tensor:
    """Return how far the attack moved each image's features, d(f(x_i), f(x_i^a)), (n,) float64.

    In [0, 2] for the cosine, where a row of zeros is at 1 from everything; in [0, inf) for a norm. It is what
    "absolute adversarial intra-class divergence" speaks of in Bui et al., 2021, section 2, for the pair alone.

    Raises:
        UsageError: shapes that do not fit, or values that are not finite.
    """
    require_known(distance)
    return row_distance(*checked.pair(clean, adversarial), distance)


def _each(clean: Tensor, attacked: Tensor, own: Tensor, distance: Distance, chunk: int) -> tuple[Tensor, Tensor]:
    """Return each anchor's mean distance to its positive and to its negative set within one block."""
    classes = int(own.max()) + 1
    sums = class_sums(clean, clean, own, classes, distance, chunk)
    sums += class_sums(clean, attacked, own, classes, distance, chunk)
    size = 2 * torch.bincount(own, minlength=classes)[own]
    itself = row_distance(clean, clean, distance) + row_distance(clean, attacked, distance)
    intra = sums.gather(1, own[:, None]).squeeze(1) - itself
    inter = sums.scatter(1, own[:, None], 0.0).sum(dim=1)
    return _over(intra, size - 2, distance), _over(inter, 2 * len(own) - size, distance)


def _over(total: Tensor, count: Tensor, distance: Distance) -> Tensor:
    return torch.where(count > 0, drop_rounding(total / count.clamp(min=1), distance), torch.nan)


def _mean(each: Tensor, needed: str) -> float:
    if bool(each.isnan().all()):
        raise UsageError(f"no divergence can be taken from {len(each)} images: it needs {needed} (in one batch)")
    return float(each.nanmean())


def _ratio(intra: float, inter: float) -> float:
    if inter > 0:
        return intra / inter
    return math.inf if intra > 0 else math.nan
