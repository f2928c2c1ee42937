"""Times within a stage: where it stands, and lengths such as ``"10 epochs"``, ``"500 steps"`` and ``"5%"``.

A duration is also a whole number of epochs, or a fraction below 1 of the stage.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from robustcl.errors import OptionError


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a stage stands: ``step`` of ``steps``, ``epoch`` (fractional, from 0) of ``epochs``."""

    step: int
    steps: int
    epoch: float
    epochs: float


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of time within a stage: ``amount`` epochs, steps, or a fraction of the stage."""

    amount: float
    unit: str = "epochs"

    def epochs(self, progress: Progress) -> float:
        """Return the duration in epochs of this stage."""
        whole = {
            "epochs": 1.0,
            "fraction": progress.epochs,
            "steps": progress.epochs / max(progress.steps, 1),
        }
        return self.amount * whole[self.unit]

    def __str__(self) -> str:
        return f"{self.amount:.6g} {self.unit}" if self.unit != "fraction" else f"{100 * self.amount:.6g}%"


def parse_duration(value: object, where: str) -> Duration:
    """Read ``"10 epochs"``, ``"500 steps"``, ``"5%"``, whole epochs, or a fraction below 1 of the stage."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(epochs?|steps?|%)\s*", value)
        if match:
            amount, unit = float(match[1]), match[2]
            return Duration(amount / 100, "fraction") if unit == "%" else Duration(amount, unit.rstrip("s") + "s")
    elif isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Duration(value)
    elif isinstance(value, float) and (0 <= value < 1 or (value > 1 and math.isfinite(value))):
        return Duration(value, "fraction" if value < 1 else "epochs")
    raise OptionError(
        f'{where} is {value!r}: write a duration as "10 epochs", "500 steps", "5%", whole epochs, '
        f"or a fraction of the stage below 1"
    )
