"""Which of a tuned row's runs stands in the table: for each seed the one that is best on validation images."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from robustcl.study import columns, tuning
from robustcl.study.grammar import Study
from robustcl.study.grid import Planned
from robustcl.study.reading import Reading
from robustcl.study.tuning import Tried

Runs = Sequence[tuple[Planned, Path]]


def choose_all(study: Study, runs: Runs) -> tuple[list[tuple[Planned, Path]], list[str]]:
    """Return the chosen runs, in their order, and what was chosen in words, a sentence for a line of the table."""
    kept: list[tuple[Planned, Path]] = []
    told: dict[tuple[str, str], list[tuple[int, Tried]]] = {}
    lost: list[str] = []
    for (label, seed), group in itertools.groupby(runs, key=lambda run: (run[0].label, run[0].seed)):
        same = list(group)
        tried = [run.tried for run, _ in same]
        place = tuning.choose(tried, lambda number, same=same: _validated(study, same[number]))  # type: ignore[misc]
        if place is None:
            lost.append(f"{label}, seed {seed}, is left out: no value that was tried has a number on validation images")
            continue
        kept.append(same[place])
        chosen = tried[place]
        if chosen is not None:
            told.setdefault((label, tuning.judge(study, same[0][0].row).name), []).append((seed, chosen))
    return kept, [*(tuning.describe_choices(label, by, found) for (label, by), found in told.items()), *lost]


def _validated(study: Study, run: tuple[Planned, Path]) -> Reading | None:
    planned, folder = run
    return columns.read([tuning.judge(study, planned.row)], planned, folder)[0]
