"""Which of a tuned row's runs stands in the table: for each seed the one that is best on validation images."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from robustcl.cost.sizes import find_sizes
from robustcl.study.grammar import tuning
from robustcl.study.grammar.study import Study
from robustcl.study.grammar.tuning import Tried
from robustcl.study.numbers import columns
from robustcl.study.numbers.reading import Reading
from robustcl.study.plan.planned import Planned

Runs = Sequence[tuple[Planned, Path]]


def choose_all(study: Study, runs: Runs) -> tuple[list[tuple[Planned, Path]], list[str]]:
    """Return the chosen runs, in their order, and what was chosen in words, a sentence for a line of the table."""
    kept: list[tuple[Planned, Path]] = []
    told: dict[tuple[str, str], list[tuple[int, Tried]]] = {}
    lost: list[str] = []
    for (label, seed), group in itertools.groupby(runs, key=lambda run: (run[0].label, run[0].seed)):
        same = list(group)
        tried = [run.tried for run, _ in same]
        place = choose(tried, lambda number, same=same: _validated(study, same[number]))  # type: ignore[misc]
        if place is None:
            lost.append(f"{label}, seed {seed}, is left out: no value that was tried has a number on validation images")
            continue
        kept.append(same[place])
        chosen = tried[place]
        if chosen is not None:
            told.setdefault((label, tuning.judge(study, same[0][0].row).name), []).append((seed, chosen))
    said = [describe_choices(label, by, found) for (label, by), found in told.items()]
    return kept, [*said, *lost, *describe_seen([run for run, _ in runs if run.tried is not None])]


def choose(tried: Sequence[Tried | None], read: Callable[[int], Reading | None]) -> int | None:
    """Return the place of the best value by its validation number; the first of equals, ``None`` without a number.

    ``read`` gives the number of a place, ``None`` where there is none.
    """
    if len(tried) == 1:
        return 0
    numbers = {place: found.value for place in range(len(tried)) if (found := read(place)) is not None}
    return max(numbers, key=lambda place: numbers[place], default=None)


def describe_choices(label: str, by: str, chosen: Sequence[tuple[int, Tried]]) -> str:
    """Return in words what was chosen for a line of the table, by seed."""
    ordered = sorted(chosen, key=lambda entry: (str(entry[1]), entry[0]))
    parts = []
    for name, group in itertools.groupby(ordered, key=lambda entry: str(entry[1])):
        seeds = [str(seed) for seed, _ in group]
        parts.append(f"{name} (seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)})")
    return f"tuned, {label}: {', '.join(parts)}, chosen by {by} on validation images"


def describe_seen(tuned: Sequence[Planned]) -> list[str]:
    """Say of which data sets the images that choose are held out of training alone, and not of what pretrains."""
    pretrained = {run.composition.recipe.data.use: run.composition for run in tuned
                  if any(table.split == "pretrain" for table in run.composition.recipe.stage)}  # fmt: skip
    sizes = {name: find_sizes(plan).samples for name, plan in pretrained.items()}
    return [
        f"tuned: {name} pretrains on a split of its own, out of which no validation images are held: an encoder may "
        "have seen the images that choose, without their labels"
        for name, samples in sizes.items()
        if samples["pretrain"] != samples["train"]
    ]


def _validated(study: Study, run: tuple[Planned, Path]) -> Reading | None:
    planned, folder = run
    return columns.read([tuning.judge(study, planned.row)], planned, folder)[0]
