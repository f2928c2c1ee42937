"""The number of one column in one run or model, with what is known of its certainty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from robustcl.comparison.outcomes import Verdicts
from robustcl.evaluate.interval import wilson
from robustcl.measures.catalogue import TRANSFERRED, VALUES


@dataclass(frozen=True, slots=True)
class Reading:
    """A number, with its 95 % interval and the number of images where it is a share of them.

    verdicts: which images were right, where a journal tells it.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    verdicts: Verdicts | None = field(default=None, compare=False, repr=False)


def share(count: int, n: int) -> Reading:
    """Return a share of n images with its interval."""
    return Reading(count / n, *wilson(count, n), n)


def is_answered(entry: Mapping[str, Any] | None, value: str) -> bool:
    """Say whether what was measured tells a column's value, or why there is none."""
    name, number = VALUES[value]
    return entry is not None and (name in entry["refused"] or number.key in entry["values"].get(name, {}))


def read_value(entry: Mapping[str, Any], value: str) -> Reading | None:
    """Return a column's value of what was measured; ``None`` where there is nothing to measure."""
    name, number = VALUES[value]
    found = entry["values"].get(name, {}).get(number.key)
    found = found.get("attacked") if isinstance(found, Mapping) else found
    n = entry["question"]["samples"]
    if value in ("fooled", "drop"):
        n = entry["settings"].get(name, {}).get("judged", 0)
    if found is None or n < 1:
        return None
    if value in ("accuracy", "fooled", TRANSFERRED):
        return share(min(max(round(found * n), 0), n), n)
    return Reading(found, n=n if number.share and name != "separability" else None)
