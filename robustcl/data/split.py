"""Hold a validation part out of the training images: seeded, stratified, the same on every rank."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robustcl.errors import UsageError
from robustcl.rng import Rng


def holdout(labels: Tensor, fraction: float, rng: Rng) -> tuple[Tensor, Tensor]:
    """Split 0 .. n-1 into (train, validation), both int64 and ascending.

    ``ceil(fraction * n)`` images are held out, shared over the classes in proportion (largest remainder); a
    class of two images or more keeps at least one on either side, even where that moves the total. Images
    without a label (-1) count as one class. ``fraction`` 0 holds out nothing.

    Raises UsageError if the fraction is outside [0, 1).
    """
    if not 0.0 <= fraction < 1.0:
        raise UsageError(f"the validation part must lie in [0, 1), not {fraction:g}: write validation = 0.1")
    labels = labels.cpu()
    classes, sizes = torch.unique(labels, return_counts=True)
    shares = _shares(sizes.tolist(), fraction)
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label, share in zip(classes.tolist(), shares, strict=True):
        members = (labels == label).nonzero().flatten()
        order = rng.child("holdout", label).permutation(len(members))
        held[members[order[:share]]] = True
    return (~held).nonzero().flatten(), held.nonzero().flatten()


def _shares(sizes: list[int], fraction: float) -> list[int]:
    """Return how many images each class gives away."""
    if fraction == 0.0:
        return [0] * len(sizes)
    exact = [fraction * size for size in sizes]
    shares = [min(max(int(value), 1), size - 1) for value, size in zip(exact, sizes, strict=True)]
    missing = math.ceil(fraction * sum(sizes) - 1e-9) - sum(shares)
    by_remainder = sorted(range(len(sizes)), key=lambda c: shares[c] - exact[c])
    for c in by_remainder[: max(missing, 0)]:
        if shares[c] < sizes[c] - 1:
            shares[c] += 1
    return shares
