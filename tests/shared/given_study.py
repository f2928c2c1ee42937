"""A finished study whose numbers are given, not measured: what its tables and figures make of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robustcl.comparison.outcomes import Verdicts
from robustcl.study import page
from robustcl.study.figures import figure
from robustcl.study.finished import FinishedStudy
from robustcl.study.grammar import spots
from robustcl.study.grammar.study import Study
from robustcl.study.numbers.reading import Reading, share
from robustcl.study.tables import derived, layout, ranking, table
from robustcl.study.tables.table import StudyLine

STRANGE = (
    "Müller & Söhne 100%_new #1",
    "ours {best} ~ λ=0.5",
    "a|b\\c $x$ ^2 <b>",
    "[1] *one* of a very long name, " * 3,
)
"""Names of rows that a stranger brings."""

WIDE = [{"name": "SA"}, {
    "name": "RA, {} eps", "use": "perturbed", "value": "accuracy", "attack": {"use": "fgsm"},
    "sweep": {"key": "times", "values": [place / 4 for place in range(1, 30)]},
}]  # fmt: skip
"""Thirty columns."""

Given = Sequence[Sequence[Reading | None]]
"""The readings of a line: of each seed, in the order of the columns."""


def outcomes(right: str) -> Reading:
    """Return the reading of images that were right, "1", or wrong, "0"."""
    n = len(right)
    verdicts = Verdicts(np.arange(n), np.zeros(n, np.int64), np.array([letter == "1" for letter in right]), None)
    made = share(right.count("1"), n)
    return Reading(made.value, made.low, made.high, n, verdicts)


def lines(study: Study, given: Sequence[Given], *, own: bool = True, seeds: int | None = None) -> list[StudyLine]:
    """Return the lines with their derived columns; columns without a given number are ``None``."""
    found = []
    for spot, readings in zip(spots.points(study), given, strict=True):
        width = len(study.columns_of(spot.row))
        padded = [[*one, *[None] * (width - len(one))] for one in readings]
        planned = len(readings) if seeds is None else seeds
        found.append(table.line(study, spot, padded, "cifar10", planned=planned, own=own))
    return derived.fill(study, found)


def write(folder: Path, study: Study, given: Sequence[Given], **options: Any) -> FinishedStudy:
    """Write every file of the study."""
    ranked = ranking.rank(study, lines(study, given, **options))
    grids = (layout.make_grid(study, ranked.lines, "cifar10", ranked.said),)
    outcome = FinishedStudy(folder, study, ranked.lines, grids, ("a note of 100 % & more",), {})
    folder.mkdir(parents=True, exist_ok=True)
    page.write(outcome, figure.draw_all(study, ranked.lines, [], "cifar10"))
    return outcome
