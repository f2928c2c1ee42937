"""Signs that features have collapsed: to a point, or to few dimensions."""

from __future__ import annotations

import torch
from torch import Tensor

from robustcl.clustering.rows import unit_rows
from robustcl.measures import checked

_LEAST = 1e-100


@torch.no_grad()
def feature_deviation(features: Tensor) -> float:
    """Return the standard deviation of the unit rows' features, averaged over the features, in [0, 1 / sqrt(F)].

    Source: Chen and He, Exploring simple Siamese representation learning, CVPR 2021, section 4.1 and figure 2: 0 where
    all rows point the same way, near 1 / sqrt(F) where they are spread evenly over the sphere. The deviation is the
    population's (divided by n), so one row has 0.

    Args:
        features: (n, F); rows need not be normalised.

    Raises:
        UsageError: not a filled matrix, or values that are not finite.
    """
    unit = unit_rows(checked.matrix(features))
    return float((unit - unit.mean(dim=0)).square_().mean(dim=0).sqrt_().mean())


@torch.no_grad()
def effective_rank(features: Tensor, *, centred: bool = False, chunk: int = 4096) -> float:
    """Return exp of the entropy of the normalised singular values, in [1, min(n, F)]; 0 for a matrix of zeros.

    Source: Roy and Vetterli, The effective rank, EUSIPCO 2007; as a measure of self-supervised features: Garrido et
    al., RankMe, ICML 2023, eq. 1, here without its 1e-7. It does not change when the features are scaled or rotated.

    Args:
        features: (n, F), taken as they are: not normalised.
        centred: subtract the mean row first, so that a common offset counts for nothing (RankMe does not); n rows
            that are all the same then give 0.
        chunk: rows reduced at once, to their triangular factor, which has the same singular values.

    Raises:
        UsageError: not a filled matrix, or values that are not finite.
    """
    rows = checked.matrix(features)
    chunk = checked.at_least_one(chunk, "chunk")
    largest = float(rows.abs().max())
    if largest == 0.0:
        return 0.0
    if not _LEAST < largest < 1 / _LEAST:
        rows, largest = rows / largest, 1.0  # the rank does not change, and squares stay numbers
    if centred:
        rows = rows - rows.mean(dim=0)
    factor = rows[:0]
    for part in torch.split(rows, chunk):
        factor = torch.cat([factor, part])
        if len(factor) > factor.shape[1]:
            factor = torch.linalg.qr(factor, mode="r").R
    values = torch.linalg.svdvals(factor)
    # What rounding leaves of a zero is no dimension.
    values = values[values > 4 * largest * torch.finfo(rows.dtype).eps * rows.numel() ** 0.5]
    if len(values) == 0:
        return 0.0
    return float(torch.special.entr(values / values.sum()).sum().exp())
