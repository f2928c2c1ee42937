"""What each attack of a run takes of its accuracy, in proportion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robustcl.report.entries import is_number, place
from robustcl.report.headline import is_accuracy, is_partial
from robustcl.report.headline import place as classifier


@dataclass(frozen=True, slots=True)
class Drop:
    """One attack: shares right before and after it, and the share of the first that is lost."""

    where: str
    attack: str
    clean: float
    attacked: float
    relative: float


def list_drops(rows: Sequence[Mapping[str, Any]]) -> list[Drop]:
    """Return one entry for each whole attacked accuracy that has a clean one of as many images, above 0.

    Source: Gupta et al., Contrastive self-supervised learning leads to higher adversarial susceptibility, 2022, tables
    1 to 3.
    """
    clean = {(classifier(row), row.get("n")): row["value"] for row in rows if row.get("attack") is None and _whole(row)}
    found = []
    for row in rows:
        before = clean.get((classifier(row), row.get("n")))
        if row.get("attack") is None or not _whole(row) or not before:
            continue
        where = ", ".join(word for word in (place(row), str(row.get("split") or "")) if word)
        value = float(row["value"])
        found.append(Drop(where, str(row["attack"]), float(before), value, (before - value) / before))
    return found


def _whole(row: Mapping[str, Any]) -> bool:
    return is_accuracy(row) and is_number(row.get("value")) and not is_partial(row)
