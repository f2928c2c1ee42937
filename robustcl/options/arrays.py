"""Arrays and numbers as people hold them, of torch, of NumPy and in lists: read once, or refused in a sentence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustcl.errors import UsageError
from robustcl.ratio import plain


def tensor(value: object, what: str) -> Tensor:
    """Return an array of real numbers as a detached tensor of its own type; raises ``UsageError`` for anything else.

    ``what`` names it in the error, "features".
    """
    try:
        found = value.detach() if isinstance(value, Tensor) else _read(value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        said = " ".join(str(error).split())
        raise UsageError(f"{what} are a {type(value).__name__} that is no array of numbers: {said}") from None
    if found.is_complex():
        raise UsageError(f"{what} are complex ({found.dtype}): give real numbers, for example torch.view_as_real")
    if found.layout != torch.strided or found.is_quantized:
        raise UsageError(
            f"{what} are {found.layout} ({found.dtype}): give a dense tensor, .to_dense() or .dequantize()"
        )
    return found


def whole(value: object, what: str, least: int = 1) -> int:
    """Return a whole number, 3, 3.0 or NumPy's; raises ``UsageError`` for another one and below ``least``."""
    found = plain(value)
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    if isinstance(found, bool) or not isinstance(found, int) or found < least:
        raise UsageError(f"{what} = {value!r}: write {least} or more, as a whole number")
    return found


def number(value: object, what: str) -> float:
    """Return a finite number; raises ``UsageError`` for anything else."""
    found = plain(value)
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        raise UsageError(f"{what} = {value!r}: write a finite number")
    return float(found)


def _read(value: Any) -> Tensor:
    """Return an array or a list as a tensor; arrays of any stride, byte order and width, read-only ones too."""
    parts = value if isinstance(value, list | tuple) else ()
    if parts and all(isinstance(part, Tensor) for part in parts):
        return torch.stack([part.detach() for part in parts])
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError("some of its entries are masked, so leave them out or fill them")
    if hasattr(value, "__cuda_array_interface__") or not any(hasattr(part, "__array__") for part in (value, *parts)):
        return torch.as_tensor(value)
    array = np.asarray(value)
    if array.dtype.kind in "iufc":
        kind = np.dtype(np.float64) if array.dtype == np.longdouble else array.dtype.newbyteorder("=")
        whole = array.flags.writeable and all(stride >= 0 for stride in array.strides)
        array = array.astype(kind, copy=not whole)
    return torch.as_tensor(array)
