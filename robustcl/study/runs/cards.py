"""A study's run as it stands on the board of its folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from robustcl.launch.board import Card
from robustcl.study.plan.planned import Planned

RUNS: Final = "runs"
"""The folder of a study that holds its runs."""


def describe_run(run: Planned, after: Sequence[str] = (), command: str = "") -> Card:
    """Return the card of a whole run."""
    stages = {stage.name: stage.epochs for stage in run.composition.stages if stage.epochs > 0}
    return Card(run.folder, title(run), f"{RUNS}/{run.folder}", stages, tuple(after), command)


def title(run: Planned) -> str:
    """Return what a run is called for a person: row and point, what is tried, and the seed."""
    return f"{run.label}, seed {run.seed}" if run.tried is None else f"{run.label}, {run.tried}, seed {run.seed}"
