"""Images that are the same to the last value, within a split and between two, by a digest of their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robustcl.inspection.splits import SplitFacts
from robustcl.types import UNLABELED

_SHOWN = 10
"""Groups of images that are kept as examples."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """What a split holds more than once.

    images: how many stand there already, under an earlier number. groups: the first of the sets of equal images, by
    their numbers. conflicts: how many such sets carry two labels or more; contradictory: the first of those.
    """

    images: int
    groups: tuple[tuple[int, ...], ...]
    conflicts: int
    contradictory: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Shared:
    """What a second split shares with a first one.

    images: of the second that stand in the first too. pairs: the first of them, (number there, number here).
    conflicts: how many of them carry a label that no copy of theirs there has.
    """

    first: str
    second: str
    images: int
    pairs: tuple[tuple[int, int], ...]
    conflicts: int
    contradictory: tuple[tuple[int, int], ...]


def repeats(split: SplitFacts) -> Repeats:
    """Return what a split holds more than once."""
    rows = np.flatnonzero(split.readable())
    _, group, count = np.unique(split.digests[rows], return_inverse=True, return_counts=True)
    several = np.flatnonzero(count[group] > 1)
    order = several[np.argsort(group[several], kind="stable")]
    cuts = np.flatnonzero(np.diff(group[order])) + 1
    groups = [tuple(rows[part].tolist()) for part in np.split(order, cuts)] if len(order) else []
    groups.sort()
    labels = split.labels.tolist()
    contradictory = [found for found in groups if len({labels[row] for row in found} - {UNLABELED}) > 1]
    return Repeats(len(order) - len(groups), tuple(groups[:_SHOWN]), len(contradictory), tuple(contradictory[:_SHOWN]))


def find_shared(first: SplitFacts, second: SplitFacts) -> Shared:
    """Return which images of the second split stand in the first too."""
    there = _by_digest(first)
    pairs, contradictory, conflicts = [], [], 0
    rows = [row for row in np.flatnonzero(second.readable()).tolist() if second.digests[row].tobytes() in there]
    for row in rows:
        copies, label = there[second.digests[row].tobytes()], int(second.labels[row])
        known = {int(first.labels[copy]) for copy in copies} - {UNLABELED}
        pairs.append((copies[0], row))
        if label != UNLABELED and known and label not in known:
            conflicts += 1
            contradictory.append((copies[0], row))
    return Shared(first.name, second.name, len(rows), tuple(pairs[:_SHOWN]), conflicts, tuple(contradictory[:_SHOWN]))


def _by_digest(split: SplitFacts) -> dict[bytes, list[int]]:
    found: dict[bytes, list[int]] = {}
    for row in np.flatnonzero(split.readable()).tolist():
        found.setdefault(split.digests[row].tobytes(), []).append(row)
    return found


def examples(split: SplitFacts, rows: Sequence[int]) -> str:
    """Return images as a person finds them, at most three."""
    more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
    return ", ".join(split.named(row) for row in rows[:3]) + more
