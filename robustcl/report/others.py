"""What a run was asked beside all that has a figure of its own: each answer as a table of names and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robustcl.evaluate.extras import EXTRAS
from robustcl.report import tables
from robustcl.report.entries import of, place

_DRAWN = frozenset({"rows", "security", "convergence", "corruptions"})
"""Lists of results.json that have sections of their own."""
_PLACE = frozenset({"protocol", "route", "stage", "encoder", "model", "questions"})


def list_others(results: Mapping[str, Any]) -> list[tuple[str, Mapping[str, str]]]:
    """Return a title and the values of each such answer."""
    return [
        (f"{extra.part}, {place(entry)}", tables.flat({k: v for k, v in entry.items() if k not in _PLACE}))
        for extra in EXTRAS
        if extra.part and extra.part not in _DRAWN
        for entry in of(results, extra.part)
    ]
