"""Reading parts of results.json that need not be there: what is no entry, or no number, is passed over."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any


def of(results: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """Return the entries of a list in results.json, those that are objects."""
    found = results.get(key)
    return [entry for entry in found if isinstance(entry, Mapping)] if isinstance(found, list) else []


def is_number(value: object) -> bool:
    """Say whether a value is a finite number, no boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def numbers(values: object) -> list[float]:
    """Return the numbers of a list, in order."""
    return [float(value) for value in values if is_number(value)] if isinstance(values, Iterable) else []


def place(entry: Mapping[str, Any]) -> str:
    """Return an entry's protocol and route in words."""
    words = [str(entry.get("protocol") or ""), f"route {entry['route']}" if entry.get("route") else ""]
    return ", ".join(word for word in words if word) or "no protocol"
