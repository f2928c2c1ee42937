"""Numbers as people write them: the ratio "8/255", and NumPy's and torch's single numbers."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any


def ratio(value: Any) -> Any:
    """Return "8/255" as a float, anything but text as it came; raise ``ValueError`` with a sentence."""
    if not isinstance(value, str):
        return value
    top, slash, bottom = value.partition("/")
    try:
        numbers = [float(part) for part in ((top, bottom) if slash else (top,))]
    except ValueError:
        raise ValueError("not a number; write a number or a ratio such as '8/255'") from None
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError("not a finite number; write a number or a ratio such as '8/255'")
    if slash and numbers[1] == 0:
        raise ValueError("a ratio over zero; write a number or a ratio such as '8/255'")
    return numbers[0] / numbers[1] if slash else numbers[0]


def plain(value: Any) -> Any:
    """Return a single number of NumPy or torch as Python's own, lists and tuples of them too; the rest as it came."""
    if type(value) in (bool, int, float, str):
        return value
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(plain(each) for each in value)
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value
