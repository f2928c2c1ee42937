"""What a reader must know beside the numbers: how they were tested, what was left out, and what is not alike."""

from __future__ import annotations

from collections.abc import Sequence

from robustcl.comparison.columns import Column
from robustcl.comparison.pairing import Difference
from robustcl.comparison.runs import Group
from robustcl.comparison.statistics import ALPHA, RESAMPLES, Bootstrap, McNemar

_ENVIRONMENT = ("robustcl", "torch", "device", "precision")


def notes(
    groups: Sequence[Group],
    columns: Sequence[Column],
    tested: Sequence[Difference],
    hidden: Sequence[str],
    baseline: str | None,
) -> tuple[str, ...]:
    """Return the sentences below the tables."""
    found = [*_numbers(groups, columns), *_tests(tested, baseline)]
    if baseline is not None:
        for column in columns:
            base = next(group for group in groups if group.label == baseline)
            if column.ranked and all(column.entry(run) is None for run in base.runs):
                found.append(f"{baseline} was not measured for {column.metric}: nothing is compared with it there.")
    found += _unheld(columns)
    for column in columns:
        found += [f"{column.metric} is mixed, neither ranked nor tested: {difference}." for difference in column.mixed]
    if hidden:
        names = " and ".join(hidden)
        found.append(f"The test split alone is shown, {names} left out.")
    return tuple(dict.fromkeys([*found, *_unlike(groups)]))


def _numbers(groups: Sequence[Group], columns: Sequence[Column]) -> list[str]:
    found = ["Accuracies are in percent."]
    if any(len(group.runs) > 1 for group in groups):
        found.append("Mean ± sample standard deviation over the seeds (n - 1 in the denominator).")
    if any(len(group.runs) == 1 for group in groups):
        found.append("A single seed has no spread: in brackets stands the 95 % interval over images.")
    alike = {column.images for column in columns}
    if len(alike) == 1:
        found.append(f"Number of images: {' or '.join(map(str, alike.pop())) or 'not stated'}.")
    else:
        found += [
            f"Number of images, {column.metric}: {' or '.join(map(str, column.images)) or 'not stated'}."
            for column in columns
        ]
    if any(column.share and any(entry.row.get("partial") for entry in column.entries) for column in columns):
        found.append("A partial column was cut off by a time limit: it is neither ranked nor tested.")
    return found


def _unheld(columns: Sequence[Column]) -> list[str]:
    """Say which numbers no journal stands behind."""
    return [
        f"{entry.run.path}: {column.metric} under {', '.join(column.where)} is not held against a journal: {why}."
        for column in columns
        if column.share
        for entry in column.entries
        if isinstance(why := entry.verdicts, str)
    ]


def _tests(tested: Sequence[Difference], baseline: str | None) -> list[str]:
    if not tested:
        return []
    found = [f"Differences are against {baseline or 'the best of each column'}, in percentage points."]
    if any(isinstance(difference.test, McNemar) for difference in tested):
        found.append(
            "One seed each: McNemar's exact test, two-sided, on the same images; beside it how many images "
            "each of the two alone gets right."
        )
    if any(isinstance(difference.test, Bootstrap) for difference in tested):
        found.append(
            f"Several seeds: paired bootstrap over images, {RESAMPLES} resamples, 95 % percentile interval in "
            "brackets; it covers the choice of images, not the choice of seeds."
        )
    count = sum(not isinstance(difference.test, str) for difference in tested)
    if count > 1:
        found.append(f"p-values are corrected by Holm's method for the {count} tests made.")
    if count:
        found.append(f"Significant: corrected p below {ALPHA}. Bold: significantly above the second best.")
    else:
        found.append("Nothing could be tested, so nothing is bold.")
    return found


def _unlike(groups: Sequence[Group]) -> list[str]:
    """Say what of training and environment differs: no reason to refuse, but one to look."""
    facts: dict[str, dict[str, list[str]]] = {}
    for run in (run for group in groups for run in group.runs):
        environment, data = run.results.get("environment") or {}, run.results.get("data") or {}
        for name in _ENVIRONMENT:
            facts.setdefault(name, {}).setdefault(str(environment.get(name)), []).append(str(run.path))
        facts.setdefault("training images", {}).setdefault(str(data.get("train")), []).append(str(run.path))
    return [
        f"The runs differ in {name}: " + ", ".join(f"{value} ({', '.join(paths)})" for value, paths in values.items())
        + "."
        for name, values in facts.items()
        if len(values) > 1
    ]  # fmt: skip
