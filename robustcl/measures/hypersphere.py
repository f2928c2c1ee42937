"""Alignment of positive pairs and uniformity of all features on the unit sphere."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robustcl.clustering.rows import unit_rows
from robustcl.measures import checked


@torch.no_grad()
def alignment(first: Tensor, second: Tensor, *, alpha: float = 2.0) -> float:
    """Return the mean of ||u_i - v_i||^alpha over positive pairs of unit rows, in [0, 2^alpha]; lower is closer.

    Source: Wang and Isola, Understanding contrastive representation learning through alignment and uniformity on the
    hypersphere, ICML 2020, section 4.1.1. The pairs may be two views, or clean and adversarial. Rows need not be
    normalised; a row of zeros stays at the centre, at distance 1 from all directions.

    Args:
        first: (n, F).
        second: (n, F), row i the positive of row i.

    Raises:
        UsageError: shapes that differ, values that are not finite, or alpha not above 0.
    """
    alpha = checked.positive(alpha, "alpha")
    left, right = checked.pair(first, second)
    length = torch.linalg.vector_norm(unit_rows(left) - unit_rows(right), dim=1)
    return float((length**alpha).mean())


@torch.no_grad()
def uniformity(features: Tensor, *, t: float = 2.0, chunk: int = 1024) -> float:
    """Return log of the mean of exp(-t ||u_i - u_j||^2) over all pairs i < j, in [-4 t, 0]; lower is more even.

    Source: Wang and Isola, ICML 2020, section 4.1.2. All n (n - 1) / 2 pairs are taken, ``chunk`` x ``chunk`` at a
    time; the sum of the exponentials is kept as a logarithm. 0 means that all rows point the same way.

    Args:
        features: (n, F), n >= 2; rows need not be normalised; a row of zeros stays at the centre.

    Raises:
        UsageError: fewer than two rows, values that are not finite, or t not above 0.
    """
    t = checked.positive(t, "t")
    unit = unit_rows(checked.matrix(features, least=2))
    parts = torch.split(unit, checked.at_least_one(chunk, "chunk"))
    total = unit.new_tensor(-math.inf)
    for number, part in enumerate(parts):
        for other in range(number, len(parts)):
            square = _squared_distance(part, parts[other])
            if other == number:
                above = torch.ones_like(square, dtype=torch.bool).triu(diagonal=1)
                square = square.masked_fill_(~above, math.inf)
            total = torch.logaddexp(total, square.mul_(-t).flatten().logsumexp(0))
    n = len(unit)
    return min(float(total) - math.log(n * (n - 1) / 2), 0.0)


def _squared_distance(a: Tensor, b: Tensor) -> Tensor:
    # In float64 the product's rounding is far below the distances that exp(-t d^2) can tell apart.
    square = a.square().sum(dim=1)[:, None] + b.square().sum(dim=1) - 2 * (a @ b.T)
    return square.clamp_(min=0.0)
