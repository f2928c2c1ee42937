"""PGD on one difference of logits after another."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from torch import Tensor

from robustcl.contrast import wide
from robustcl.options import Count, Length
from robustcl.protocols import Need
from robustcl.search import step_default, step_length
from robustcl.threat import Ball
from robustcl.types import Attack
from robustcl_plugins.generators.margin import likely_targets, margin, target_count
from robustcl_plugins.generators.standing import Found, climb, pursue


class MultiTargetedPGD:
    """PGD on z_t - z_y for the wrong classes t in turn, the likeliest of the clean logits first.

    Each run starts at a uniform point of the ball and steps along the steepest direction of the ball's norm. A sample
    keeps the input that fooled, where the judge's verdict is known, and leaves; otherwise the input of all runs with
    the largest z_t - z_y. Costs ``steps`` forward and backward passes and one last forward for each target and restart.

    steps, step_size: as in ``pgd``. targets: how many wrong classes; left out: all. restarts: starts for each target.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PREDICTIONS, Need.LABELS})
    citation: ClassVar[str] = (
        "Gowal, Uesato, Qin, Huang, Mann and Kohli, An Alternative Surrogate Loss for PGD-based Adversarial Testing,"
        " arXiv:1910.09338, 2019, algorithm 1"
    )

    def __init__(
        self, *, steps: Count = 10, step_size: Length | None = None, targets: Count | None = None, restarts: Count = 1
    ) -> None:
        self.steps = steps
        self.step_size = step_size
        self.targets = targets
        self.restarts = restarts

    def check_threat(self, classes: int, ball: Ball, who: str) -> None:
        """Raise ``UsageError`` for more targets than there are wrong classes."""
        if self.targets is not None:
            target_count(self.targets, classes, who)

    def defaults(self, classes: int, ball: Ball) -> Mapping[str, float]:
        """Return the step and the number of targets that are taken where none was given."""
        targets = {"targets": classes - 1} if self.targets is None else {}
        return {**step_default(self.step_size, ball), **targets}

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        x = x.detach()
        logits = wide(attack.clean().logits)
        if self.targets is not None:
            target_count(self.targets, logits.shape[1], "multi-targeted-pgd")
        targets = likely_targets(logits, attack.label, self.targets)

        def run(rank: int, number: int, rows: Tensor, some: Attack) -> Found:
            target, start = targets[rows, rank], some.ball.sample(x[rows], some.rng.child("start", rank, number))
            moves = _Steady(x[rows], some.ball, self.step_size)
            return climb(
                start, some, lambda logits, row: margin(logits, some.label[row], target[row]), moves, self.steps
            )

        ranks, restarts = range(targets.shape[1]), range(self.restarts)
        return pursue(x, attack, [partial(run, rank, number) for number in restarts for rank in ranks])


class _Steady:
    """Steps of one length, projected; no row ever goes back."""

    def __init__(self, x: Tensor, ball: Ball, step_size: float | None) -> None:
        self.x, self.ball, self.step_size = x, ball, step_size

    def move(self, adv: Tensor, gradient: Tensor) -> Tensor:
        return self.ball.project(self.ball.ascend(adv, gradient, step_length(self.step_size, self.ball)), self.x)

    def adapt(self, done: int, loss: Tensor, best: Tensor, best_loss: Tensor) -> Tensor | None:
        return None

    def take(self, rows: Tensor) -> None:
        self.x, self.ball = self.x[rows], self.ball.take(rows)
