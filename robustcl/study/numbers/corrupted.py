"""Corrupted test images as columns of a study: accuracy, what is lost of the clean one, and errors in a baseline's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robustcl import corruption
from robustcl.errors import NotMeasured, UsageError, near
from robustcl.evaluate.extras.corruptions import choose_corruptions
from robustcl.recipe import Corruptions
from robustcl.study.grammar.columns import Corrupted
from robustcl.study.numbers.reading import Reading

Accuracies = Mapping[str, Sequence[float]]
"""Corruption -> accuracy at each severity."""


def check_table(column: Corrupted, table: Corruptions | None, where: str) -> list[str]:
    """Return the corruptions that a column is about, of those that a table asks for; refuse what it does not."""
    chosen = () if table is None else choose_corruptions(table)
    # Where the benchmark's are taken as far as they can be made, one that cannot leaves an empty cell.
    known = ("mean", *(chosen if table is not None and table.names else corruption.names())) if chosen else ()
    if table is None or column.corruption not in known:
        raise NotMeasured(
            f"{where}: the recipe is not judged on {column.corruption!r}{near(column.corruption, known)}; set "
            "evaluate.PROTOCOL.corruptions"
        )
    if (column.baseline is not None) != (column.value == "corruption-error"):
        raise UsageError(
            f'{where}: value = "corruption-error" and no other is divided by a baseline; give both, baseline = "ROW" '
            "or a table of errors, or neither"
        )
    asked = [name for name in chosen if column.corruption in ("mean", name)]
    if isinstance(column.baseline, dict):
        _check_errors(column.baseline, table, asked, where)
    return asked


def read(
    column: Corrupted,
    place: tuple[str, str],
    told: Mapping[str, Any],
    clean: Reading | None,
    baseline: tuple[tuple[str, str], Mapping[str, Any]] | None,
) -> Reading | None:
    """Return a column's number of a classifier's results; ``baseline`` is what those of the baseline's row state.

    Both are as results.json has them; ``place`` is protocol and route, which ``baseline`` has of its own, ``clean`` the
    clean accuracy of the same classifier. ``None`` where something is missing.
    """
    found = _accuracies(column, told, *place)
    if not found:
        return None
    if column.value == "corruption-error":
        theirs = _baseline(column, found, baseline)
        if not set(found) <= set(theirs):
            return None
        return Reading(corruption.mean_corruption_error(found, theirs))
    shares = [share for accuracies in found.values() for share in accuracies]
    accuracy = sum(shares) / len(shares)
    if column.value == "accuracy":
        return Reading(accuracy)
    return Reading(1 - accuracy / clean.value) if clean is not None and clean.value > 0 else None


def _accuracies(column: Corrupted, told: Mapping[str, Any], protocol: str, route: str) -> Accuracies:
    for entry in told.get("corruptions") or ():
        if (entry["protocol"], entry["route"]) == (protocol, route):
            return {name: shares for name, shares in entry["accuracy"].items() if column.corruption in ("mean", name)}
    return {}


def _baseline(
    column: Corrupted, found: Accuracies, stated: tuple[tuple[str, str], Mapping[str, Any]] | None
) -> Accuracies:
    if isinstance(column.baseline, dict):
        return {name: [1 - column.baseline[name] / 100] * len(shares) for name, shares in found.items()}
    return {} if stated is None else _accuracies(column, stated[1], *stated[0])


def _check_errors(errors: Mapping[str, float], table: Corruptions, asked: Sequence[str], where: str) -> None:
    if tuple(table.severities) != corruption.SEVERITIES:
        raise UsageError(f"{where}.baseline: given errors are means over five severities; judge all five")
    for name in asked:
        if name not in errors:
            raise UsageError(f"{where}.baseline: it has no error on {name!r}; give one, in percent")
    for name, error in errors.items():
        corruption.check(name, 1)
        if not 0 < error <= 100:
            raise UsageError(f"{where}.baseline: {name} = {error} is not accepted; give an error above 0, in percent")
