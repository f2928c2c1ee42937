"""The numbers of a recipe's value, each changed: a number, a ratio as text, or those of a list or a schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from robustcl.options import schedule
from robustcl.ratio import ratio


def scale(value: Any, times: float) -> Any:
    """Return a value with every number multiplied; errors as ``change_each``."""
    return change_each(value, lambda number, unit: number * times)


def change_each(value: Any, change: Callable[[float, float], float]) -> Any:
    """Return a value with every number changed; ``change`` is given it and what it is a multiple of: 8 and 255.

    What holds no number stays as it is.

    Raises:
        OverflowError: a number leaves the range of floats.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        changed = _finite(change(value, 1))
        return int(changed) if changed == int(changed) else changed
    if isinstance(value, float):
        return _finite(change(value, 1.0)) if math.isfinite(value) else value
    if isinstance(value, list | tuple):
        return [change_each(entry, change) for entry in value]
    if isinstance(value, Mapping):
        return schedule.with_numbers(value, lambda entry: change_each(entry, change))
    return _ratio(value, change) if isinstance(value, str) else value


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise OverflowError("a number leaves the range of floats")
    return number


def _ratio(text: str, change: Callable[[float, float], float]) -> str:
    try:
        ratio(text)
    except ValueError:
        return text
    top, slash, bottom = text.partition("/")
    changed = _finite(change(float(top), float(bottom) if slash else 1.0))
    return f"{int(changed) if changed == int(changed) else changed}{slash}{bottom}"
