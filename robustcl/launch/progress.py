"""How far a task's run is, by what its stages have logged; nothing of it is asked of the process that trains."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustcl.disk import parse_json
from robustcl.errors import DataError
from robustcl.launch.board import TaskStanding
from robustcl.train.log import METRICS

_TAIL = 1 << 16
"""Bytes of a log that are looked at: its last line is in them."""


@dataclass(frozen=True, slots=True)
class RunProgress:
    """Where a run stands: the stage that logged last, its epoch and how many it has, seconds to the end of its stages.

    ``seconds`` is of the stages that are known alone, and without the evaluation; ``None``: nothing is known yet.
    """

    stage: str = ""
    epoch: float = 0.0
    epochs: int = 0
    seconds: float | None = None


def look(folder: Path, standing: TaskStanding) -> RunProgress:
    """Return how far the run of a task is; ``folder`` is the board's."""
    stages = standing.card.stages
    line = _last_line(folder / standing.card.run / METRICS) if standing.card.run else None
    numbers = [line.get(key, 0.0) for key in ("epoch", "seconds")] if line is not None else []
    if line is None or not all(isinstance(number, int | float) for number in numbers):
        return RunProgress()
    stage, epoch, spent = str(line.get("stage")), *map(float, numbers)
    if (epochs := stages.get(stage)) is None:
        return RunProgress()
    rate = spent / epoch if epoch > 0 else None
    names = list(stages)
    left = [stages[name] for name in names[names.index(stage) + 1 :]]
    # A later stage is taken to be as fast: it may have an attack that this one lacks, and the table says "about".
    seconds = None if rate is None else rate * (max(epochs - epoch, 0.0) + sum(left))
    return RunProgress(stage, epoch, epochs, seconds)


def _last_line(path: Path) -> Mapping[str, Any] | None:
    """Return the last whole line of a log, which may be growing."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _TAIL, 0))
            lines = file.read().split(b"\n")[:-1]
    except OSError:
        return None
    for line in reversed(lines):
        try:
            found = parse_json(line, "a line", undefined=float)
        except DataError:
            continue
        return found if isinstance(found, Mapping) else None
    return None
