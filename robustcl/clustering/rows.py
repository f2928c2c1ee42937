"""Rows of features on the unit sphere, and their sums per cluster."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from robustcl.errors import UsageError
from robustcl.options.arrays import tensor


def unit_rows(features: Tensor) -> Tensor:
    """Return features (n, F) with rows of unit length; rows of zeros stay zero.

    float64 stays float64, everything else becomes float32. Huge and tiny rows are scaled before they are
    squared.

    Raises:
        UsageError: not a matrix, or a value is infinite or not a number (the first such row is named).
    """
    features = tensor(features, "features")
    if features.ndim != 2 or features.numel() == 0:
        raise UsageError(f"features of shape {tuple(features.shape)} cannot be clustered: give a filled matrix (n, F)")
    rows = features.to(torch.float64 if features.dtype == torch.float64 else torch.float32)
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    small = torch.finfo(rows.dtype).tiny ** 0.5
    if bool(((length > small) & torch.isfinite(length)).all()):
        plain: Tensor = rows / length
        return plain
    require_finite(rows)
    largest = rows.abs().amax(dim=1, keepdim=True)
    rows = torch.where(largest > 0, rows / largest, 0.0)
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    unit: Tensor = torch.where(length > 0, rows / length, 0.0)
    return unit


def require_finite(rows: Tensor) -> None:
    """Raise ``UsageError`` naming the first row of (n, F) that is not finite."""
    bad = (~torch.isfinite(rows)).any(dim=1).nonzero()
    if len(bad):
        raise UsageError(
            f"{len(bad)} of {len(rows)} feature rows are infinite or not a number, "
            f"the first is row {int(bad[0])}: check the encoder's weights and the learning rate"
        )


def require_fillable(unit: Tensor, clusters: int) -> None:
    """Raise ``UsageError`` unless unit rows (n, F) can fill K clusters, 1 to as many as are nonzero."""
    usable = int((torch.linalg.vector_norm(unit, dim=1) > 0).sum())
    if not 1 <= clusters <= usable:
        raise UsageError(
            f"{clusters} clusters cannot be made of {len(unit)} feature rows, {usable} of them nonzero: "
            + (f"ask for 1 to {usable}" if usable else "check the encoder, its features have collapsed")
        )


def cluster_sums(rows: Tensor, assignment: Tensor, clusters: int) -> Tensor:
    """Return the sum of the rows (n, F) of each cluster, (K, F); zeros for a cluster without rows.

    Rows are added in a fixed order on every device, unlike with atomic scatters.
    """
    order = torch.argsort(assignment, stable=True)
    count = torch.bincount(assignment, minlength=clusters)
    return F.embedding_bag(order, rows, count.cumsum(0) - count, mode="sum")


def wide(device: torch.device) -> torch.dtype:
    """Return the widest float that the device can add in: float64, except on Apple's GPUs."""
    return torch.float32 if device.type == "mps" else torch.float64
