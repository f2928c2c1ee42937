"""The judge behind a call of a bound attack, which returns inputs and no verdicts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from torch import Tensor

from robustcl.evaluate.classifier import Classifier
from robustcl.evaluate.judge import Judge, Members
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.types import Attack


class Mover(Judge):
    """The engine's judge; for a generator that is only to perturb, without verdicts, so that no row leaves early."""

    def __init__(
        self,
        name: str,
        classifier: Classifier,
        ball: Ball,
        rng: Rng,
        autocast: Callable[[], AbstractContextManager[object]],
        *,
        judged: bool,
    ) -> None:
        super().__init__(classifier, ball, rng, autocast)
        self._judged, self._name = judged, name

    def moved(self, x: Tensor, y: Tensor, rows: Tensor, members: Members, target: Tensor | None) -> Tensor:
        """Return adversarial inputs (R, *item) toward classes ``target`` (R,), or any wrong ones."""
        if self._judged:
            return self.attack(x, y, rows, self._name, members, target)[0]
        ((member, generator),) = members
        return self.perturb(x, y, rows, self._name, member, generator, target)

    def task(self, attacked: Classifier, x: Tensor, label: Tensor, index: Tensor, rng: Rng) -> Attack:
        task = super().task(attacked, x, label, index, rng)
        return task if self._judged else task.but(fooled=None, breaks=None)
