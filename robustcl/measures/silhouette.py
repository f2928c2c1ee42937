"""Silhouettes of clean and of attacked features under the same grouping."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustcl.clustering import silhouette
from robustcl.measures import checked


@dataclass(frozen=True, slots=True, eq=False)
class Silhouettes:
    """The mean silhouette before and after the attack, and each image's own.

    clean, adversarial: in [-1, 1]; higher means groups that are dense and stand apart.
    drop: clean - adversarial, in [-2, 2].
    clean_each, adversarial_each: (n,) float64 in [-1, 1]; 0 for an image alone in its group.
    """

    clean: float
    adversarial: float
    drop: float
    clean_each: Tensor
    adversarial_each: Tensor


@torch.no_grad()
def silhouettes(clean: Tensor, adversarial: Tensor, group: Tensor, *, chunk: int = 512) -> Silhouettes:
    """Return the exact cosine silhouettes of clean and of adversarial features, each among its own kind.

    Source: Rousseeuw, J. Comput. Appl. Math. 20, 1987, which NCP-ACL chooses its K by (section 4.1, figure 2). The
    cost is O(n K), see ``robustcl.clustering.coefficients``.

    Args:
        clean: (n, F); rows need not be normalised.
        adversarial: (n, F), of the same images.
        group: (n,) whole numbers >= 0: classes, or the clusters of the clean features. Both are judged by it.

    Raises:
        UsageError: shapes that do not fit, values that are not finite, missing labels, or only one group.
    """
    first, second = checked.pair(clean, adversarial)
    own, _ = checked.number_labels(group, first)
    chunk = checked.at_least_one(chunk, "chunk")
    before = silhouette(first, own, chunk=chunk)
    after = silhouette(second, own, chunk=chunk)
    means = float(before.mean()), float(after.mean())
    return Silhouettes(*means, means[0] - means[1], before, after)
