"""Projected gradient descent on whatever loss the recipe names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

from robustcl import search
from robustcl.options import Class, Count, Length, Positive
from robustcl.protocols import Need
from robustcl.threat import Ball
from robustcl.types import Attack


class PGD:
    """Repeats: one step along the steepest direction of the ball's norm, back into ball and range.

    steps: gradient steps. step_size: the length of each, in the norm of the ball; left out, a quarter of eps. start: x
    itself ("none"), a uniform point of the ball, or x plus Gaussian noise of the given ``deviation`` (TRADES: 0.001).
    restarts: searches from fresh starts; each row keeps its best where the loss is separable, otherwise the best whole
    batch is kept. Maximises the term that the recipe names, the cross-entropy at evaluation, where a row that is fooled
    already is not attacked any further. target: at evaluation, the class to reach: the cross-entropy of that class is
    then minimised, and only rows that reach it are left alone.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.OBJECTIVE})
    citation: ClassVar[str] = (
        "Madry, Makelov, Schmidt, Tsipras and Vladu, Towards Deep Learning Models Resistant to Adversarial"
        " Attacks, ICLR 2018, section 2.1"
    )

    def __init__(
        self,
        *,
        steps: Count = 10,
        step_size: Length | None = None,
        start: Literal["none", "uniform", "gaussian"] = "uniform",
        restarts: Count = 1,
        deviation: Positive = 0.001,
        target: Class | None = None,
    ) -> None:
        self.steps = steps
        self.step_size = step_size
        self.start = start
        self.restarts = restarts
        self.deviation = deviation
        self.target = target

    def defaults(self, classes: int, ball: Ball) -> Mapping[str, float]:
        """Return the step that is taken where none was given."""
        return search.step_default(self.step_size, ball)

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        if attack.has("fooled") and attack.separable:
            return search.pursue(
                x,
                attack,
                steps=self.steps,
                step_size=self.step_size,
                start=self.start,
                restarts=self.restarts,
                deviation=self.deviation,
            )
        return search.ascend(
            x,
            lambda v: attack.objective(attack.encode(v)),
            attack.ball,
            steps=self.steps,
            step_size=self.step_size,
            rng=attack.rng,
            start=self.start,
            restarts=self.restarts,
            separable=attack.separable,
            deviation=self.deviation,
        )
