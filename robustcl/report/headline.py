"""The rows of the page, and which of them make its headline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robustcl.report import tables

_UNSAID = dict.fromkeys(("model", "partial", "samples", "upper", "protocol_version", "protocol_hash", "fit", "remarks",
                         "resolved", "target", "attacked", "reached", "seed", "precision"))  # fmt: skip
_PLACE = ("protocol", "route", "split", "model")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The headline: the clean row and the hardest attacked row of the first protocol and route.

    An attack that was cut off is ``attacked`` only where no other one was finished; else it stands under ``begun``.
    """

    clean: Mapping[str, Any] | None
    attacked: Mapping[str, Any] | None
    begun: tuple[Mapping[str, Any], ...] = ()


def rows(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the result rows with everything they say, with intervals filled in, and ``spec`` always a mapping."""
    made = tables.records(tables.frame(results))
    return [{**_UNSAID, **raw, **row, "spec": tables.spec(raw)} for row, raw in zip(made, results["rows"], strict=True)]


def verdict(results: Mapping[str, Any]) -> Verdict:
    """Choose the headline without looking for the best number: the first test row of the judged branch, and its model.

    Of several attacks the one that leaves the least counts: robust accuracy is what survives the hardest. Where one
    question was asked of fewer images too, the answer on the most counts.
    """
    accuracies = [row for row in rows(results) if is_accuracy(row) and row["value"] is not None]
    tested = [row for row in accuracies if row["split"] == "test"] or accuracies
    if not tested:
        return Verdict(None, None)
    tested = [row for row in tested if row["route"] == results.get("branch")] or tested
    same = _on_most_images([row for row in tested if place(row) == place(tested[0])])
    clean = [row for row in same if row["attack"] is None]
    attacked = sorted(
        (row for row in same if row["attack"] is not None), key=lambda row: (is_partial(row), row["value"])
    )
    begun = tuple(row for row in attacked[1:] if is_partial(row))
    return Verdict(clean[0] if clean else None, attacked[0] if attacked else None, begun)


def _on_most_images(made: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the rows without those that answer the same question on fewer images, or only in part."""
    best: dict[str, Mapping[str, Any]] = {}
    for row in made:
        asked = json.dumps([row["attack"], row["spec"]], sort_keys=True, default=str)
        rank = (not is_partial(row), row["n"] or 0)
        if asked not in best or rank > (not is_partial(best[asked]), best[asked]["n"] or 0):
            best[asked] = row
    return list(best.values())


def place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what rows must share to be of one classifier on one split."""
    return tuple(row.get(key) for key in _PLACE)


def is_accuracy(row: Mapping[str, Any]) -> bool:
    """Say whether a row is a share of images, shown as percent, rather than another measure."""
    return row.get("correct") is not None or str(row["metric"]).endswith("_acc")


def is_partial(row: Mapping[str, Any]) -> bool:
    """Say whether a measurement was cut off, so that its value is no number of the attack, only its bounds hold."""
    return bool(row.get("partial"))


def bounds(row: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Return a row's 95 % interval; that of a partial row ends at ``upper``, for what was fooled stays fooled."""
    low, high, upper = row.get("low"), row.get("high"), row.get("upper")
    return low, min(high, upper) if high is not None and isinstance(upper, int | float) else high
