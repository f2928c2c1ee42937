"""What every measure asks of its arguments, answered in one sentence where it is not so."""

from __future__ import annotations

import torch
from torch import Tensor

from robustcl.clustering.rows import require_finite, wide
from robustcl.errors import UsageError
from robustcl.options.arrays import number, tensor, whole
from robustcl.rng import Rng


def matrix(features: Tensor, what: str = "features", *, least: int = 1) -> Tensor:
    """Return (n, F), an array of any library, as a tensor in the device's widest float, detached.

    Raises:
        UsageError: not a matrix of numbers, fewer than ``least`` rows, or a value that is not finite.
    """
    features = tensor(features, what)
    if features.ndim != 2 or features.shape[1] == 0:
        raise UsageError(f"{what} of shape {tuple(features.shape)} ({features.dtype}) are no matrix (n, F) of numbers")
    if len(features) < least:
        raise UsageError(f"{len(features)} rows of {what} are too few for this measure: give at least {least}")
    rows = features.to(wide(features.device))
    require_finite(rows)
    return rows


def pair(clean: Tensor, adversarial: Tensor) -> tuple[Tensor, Tensor]:
    """Return clean and adversarial features (n, F) of the same images, on the device of the clean ones."""
    clean, adversarial = tensor(clean, "clean features"), tensor(adversarial, "adversarial features")
    if clean.shape != adversarial.shape:
        raise UsageError(
            f"clean {tuple(clean.shape)} and adversarial {tuple(adversarial.shape)} features differ in shape: "
            "row i of both must come from the same image"
        )
    first = matrix(clean, "clean features")
    return first, matrix(adversarial.to(clean.device), "adversarial features")


def number_labels(label: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """Return each row's class as a number from 0 to L - 1, (n,), and the L labels that occur, ascending."""
    classes, own = torch.unique(labels(label, features), return_inverse=True)
    return own, classes


def labels(label: Tensor, features: Tensor) -> Tensor:
    """Return the labels (n,), whole numbers of any type, as int64 on the features' device.

    Raises:
        UsageError: not one whole number for each row, or a negative one: the image has no label.
    """
    label = tensor(label, "labels")
    fractions = label.is_floating_point() and not bool((label == label.trunc()).logical_and(label.abs() < 2**53).all())
    if label.shape != features.shape[:1] or fractions:
        raise UsageError(
            f"labels of shape {tuple(label.shape)} ({label.dtype}) do not fit {len(features)} rows: "
            "give one whole number for each"
        )
    own = label.to(features.device, torch.int64)
    if bool((own < 0).any()):
        raise UsageError(f"{int((own < 0).sum())} of {len(own)} rows have no label: measure the labelled ones alone")
    return own


def at_least_one(value: int, what: str) -> int:
    """Return a count; raises ``UsageError`` below 1 and for what is no whole number."""
    return whole(value, what)


def positive(value: float, what: str) -> float:
    """Return a finite number above 0; raises ``UsageError`` otherwise."""
    found = number(value, what)
    if found <= 0:
        raise UsageError(f"{what} = {found:g}: write a finite number above 0")
    return found


def images(x: Tensor, what: str = "images") -> Tensor:
    """Return (R, *item), detached; raises ``UsageError`` unless they are floats in a filled batch."""
    x = tensor(x, what)
    if x.ndim < 2 or x.numel() == 0 or not x.is_floating_point():
        raise UsageError(f"{what} of shape {tuple(x.shape)} ({x.dtype}) are no filled batch (R, *item) of floats")
    return x


def bound(rng: Rng, rows: Tensor) -> Rng:
    """Return the stream with one sub-stream a row, named by position where the caller has not named them.

    Raises:
        UsageError: the stream is bound to another number of rows.
    """
    if not isinstance(rng, Rng):
        raise UsageError(f"rng = {rng!r} is no stream: give robustcl.Rng(0), or a child of one")
    if rng.rows is None:
        return rng.for_rows(torch.arange(len(rows), device=rows.device))
    if len(rng.rows) != len(rows):
        raise UsageError(f"the stream is bound to {len(rng.rows)} rows, but there are {len(rows)} images")
    return rng
