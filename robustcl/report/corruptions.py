"""Accuracy on corrupted images: a table for each route, with the mean of each corruption."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from robustcl.report.entries import numbers, of, place
from robustcl.report.heat import Heat, cell, markup


def draw_grids(results: Mapping[str, Any]) -> list[Markup]:
    """Return the table of each entry under ``corruptions``; of none, where nothing was measured."""
    return [markup(_grid(entry)) for entry in of(results, "corruptions") if _accuracies(entry)]


def _grid(entry: Mapping[str, Any]) -> Heat:
    severities = [str(severity) for severity in entry.get("severities") or ()]
    found = _accuracies(entry)
    rows = [
        (name.replace("_", " "), (cell(_mean(shares), marked=True), *(cell(share) for share in shares)))
        for name, shares in found.items()
    ]
    by_severity = [_mean(column) for column in zip(*found.values(), strict=True)]
    whole = cell(entry.get("mean"), marked=True)
    rows.append(("mean", (whole, *(cell(share, marked=True) for share in by_severity))))
    where = place(entry)
    kinds = f"{len(found)} corruption{'s' if len(found) > 1 else ''} at severit"
    kinds += f"ies {', '.join(severities)}" if len(severities) > 1 else f"y {severities[0]}"
    complete = (
        "These are the fifteen corruptions and five severities of the benchmark."
        if entry.get("complete")
        else "This is not the whole benchmark of fifteen corruptions and five severities: its mean must not be "
        "compared with published ones."
    )
    caption = f"{where}: percent right on {kinds}; images: {entry.get('source') or 'of unknown source'}. {complete}"
    return Heat("corruption", ("mean", *severities), tuple(rows), caption)


def _accuracies(entry: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return corruption -> accuracies, of those that have one for each severity."""
    accuracy, wanted = entry.get("accuracy"), len(entry.get("severities") or ())
    if not isinstance(accuracy, Mapping) or wanted == 0:
        return {}
    return {
        str(name): list(shares)
        for name, shares in accuracy.items()
        if isinstance(shares, list) and len(shares) == wanted
    }


def _mean(shares: Any) -> float | None:
    """Return the mean where all are numbers: that of some of them would be another quantity."""
    found = numbers(shares)
    return sum(found) / len(found) if found and len(found) == len(shares) else None
