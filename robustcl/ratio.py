"""Numbers that people write as ratios: "8/255"."""

from __future__ import annotations

import math
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
