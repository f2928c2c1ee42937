"""Whether a schedule ended before its objective did: the curve of epoch means, and the rule that reads it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

_SHARE = 0.02
"""Of the whole fall: what the last quarter may still bring."""
_SCATTER = 2.0
"""Standard errors that a fall must exceed, where there are epochs enough to estimate one."""


@dataclass(slots=True)
class LossCurve:
    """The first batch's loss, and of each epoch the mean loss and the sum of its learning rates over its steps.

    ``sum``, ``time`` and ``steps`` are those of the epoch in progress. All of it goes into the checkpoint.
    """

    first: float | None = None
    losses: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    sum: float = 0.0
    time: float = 0.0
    steps: int = 0

    def add(self, loss: float, rate: float) -> None:
        """Take in one step."""
        self.first = loss if self.first is None else self.first
        self.sum, self.time, self.steps = self.sum + loss, self.time + rate, self.steps + 1

    def end_epoch(self) -> None:
        """Close the epoch in progress."""
        self.losses.append(self.sum / max(self.steps, 1))
        self.times.append(self.time)
        self.sum, self.time, self.steps = 0.0, 0.0, 0

    def facts(self) -> dict[str, Any]:
        """Return what a finished stage keeps of it."""
        return {"first": self.first, "losses": self.losses, "times": self.times}


def still_falling(first: float, losses: Sequence[float], times: Sequence[float]) -> str | None:
    """Return in words how an objective was still falling at the end of its schedule; ``None`` where it was not.

    Time is counted in learning rate times steps, for at a hundredth of the rate an epoch moves a hundredth as far: a
    rate that is cut makes a curve flat without bringing it nearer to its optimum. The mean loss of the last quarter is
    held against that of the quarter before. It was falling where the difference is more than 2 % of the whole fall
    since the first batch, and more than twice its own standard error where four epochs or more allow to estimate one.
    A single epoch is held against the first batch.

    Args:
        first: the loss of the first batch.
        losses: the mean loss of each epoch.
        times: the sum of the learning rates over the steps of each epoch.
    """
    total = sum(times)
    if not losses or total <= 0:
        return None
    late, early = _quarters(times, total)
    end = _mean(losses, times, late)
    before = _mean(losses, times, early) if early else first
    fall, whole = before - end, first - end
    if not fall > max(_SHARE * whole, _SCATTER * _error(losses, early, late)):
        return None
    span = f"the {len(early)} epochs before" if len(early) > 1 else "the epoch before" if early else "the first batch"
    return (
        f"the objective was still falling where the schedule ended: from {before:.4g} ({span}) to {end:.4g} "
        f"(the last {len(late)} of {len(losses)} epochs), {fall / whole:.0%} of the whole fall in the last quarter of "
        "learning rate times steps"
    )


def _quarters(times: Sequence[float], total: float) -> tuple[list[int], list[int]]:
    """Return the epochs of the last quarter, and of the one before it; at least one each, where there are two."""
    middle, gone = [], 0.0
    for time in times:
        middle.append((gone + time / 2) / total)
        gone += time
    late = [epoch for epoch, place in enumerate(middle) if place >= 0.75]
    late = late or [len(times) - 1]
    # Where all that time passed in few epochs, those after the cut alone would be the last quarter.
    if sum(times[epoch] for epoch in late) < 0.05 * total and late[0] > 0:
        late = [late[0] - 1, *late]
    early = [epoch for epoch in range(late[0]) if middle[epoch] >= 0.5]
    return late, early or ([late[0] - 1] if late[0] else [])


def _mean(losses: Sequence[float], times: Sequence[float], epochs: Sequence[int]) -> float:
    weight = sum(times[epoch] for epoch in epochs)
    if weight <= 0:
        return sum(losses[epoch] for epoch in epochs) / len(epochs)
    return sum(losses[epoch] * times[epoch] for epoch in epochs) / weight


def _error(losses: Sequence[float], early: Sequence[int], late: Sequence[int]) -> float:
    """Return the standard error of the difference, from the scatter of steps between neighbouring epochs; else 0."""
    epochs = [*early, *late]
    if len(epochs) < 4:
        return 0.0
    steps = [losses[after] - losses[epoch] for epoch, after in pairwise(epochs)]
    return float(statistics.stdev(steps) * (0.5 * (1 / len(early) + 1 / len(late))) ** 0.5)
