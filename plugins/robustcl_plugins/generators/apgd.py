"""Auto-PGD: projected gradient ascent that chooses its own step sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from robustcl.errors import UsageError
from robustcl.options import Class, Count, Fraction
from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.types import Attack
from robustcl_plugins.generators import auto_step
from robustcl_plugins.generators.margin import dlr, targeted_dlr
from robustcl_plugins.generators.standing import Found, Loss, climb, pursue


class APGD:
    """Momentum steps that each sample halves where it climbs too rarely; then it goes back to its best point.

    Linf and L2 start at steps of 2 eps. L1 takes sparse steps instead, whose length and number of entries follow the
    sparsity of the best point. Each pass that gives a gradient also says who is fooled: where the judge's verdict is
    known, fooled samples keep that input and leave. Costs ``steps`` forward and backward passes and one last forward,
    times ``eot``, for each restart; with ``largereps`` three last forwards.

    steps: gradient steps of each restart.
    restarts: fresh random starts; each sample keeps the input that fooled, or else its largest loss.
    loss: the cross-entropy, or the difference of logits ratio, free of the logits' scale ("dlr").
    rho: the share of steps between two checkpoints that must raise the loss, or the step is halved; not for L1.
    eot: forward passes that each loss and gradient averages, for models that draw at random.
    largereps: L1 only: 30 % of the steps in a ball of 3 eps, 30 % in one of 2 eps, the rest in the true one, each from
        the best point so far, projected. Left out: on for L1, as the published standard evaluation does.
    target: at evaluation, the class to reach: the loss is then minus its cross-entropy, or the targeted ratio ("dlr").
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PREDICTIONS, Need.LABELS})
    citation: ClassVar[str] = (
        "Croce and Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free"
        " Attacks, ICML 2020, section 3, section 4 and algorithm 1; L1: Croce and Hein, Mind the Box: l1-APGD for"
        " Sparse Adversarial Attacks on Image Classifiers, ICML 2021, section 4"
    )

    def __init__(
        self,
        *,
        steps: Count = 100,
        restarts: Count = 1,
        loss: Literal["cross-entropy", "dlr"] = "cross-entropy",
        rho: Fraction = 0.75,
        eot: Count = 1,
        largereps: bool | None = None,
        target: Class | None = None,
    ) -> None:
        self.steps = steps
        self.restarts = restarts
        self.loss = loss
        self.rho = rho
        self.eot = eot
        self.largereps = largereps
        self.target = target

    def defaults(self, classes: int, ball: Ball) -> Mapping[str, bool]:
        """Return whether larger balls come first, where that was left open."""
        return {"largereps": phased(self.largereps, ball)} if self.largereps is None else {}

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        x, large = x.detach(), phased(self.largereps, attack.ball)
        aimed, away, toward = attack.has("target"), _LOSSES[self.loss], _TARGETED[self.loss]

        def restart(number: int, rows: Tensor, some: Attack) -> Found:
            def loss(logits: Tensor, row: Tensor) -> Tensor:
                return toward(logits, some.label[row], some.target[row]) if aimed else away(logits, some.label[row])

            return auto_pgd(
                x[rows], some, loss, some.rng.child("restart", number),
                steps=self.steps, rho=self.rho, eot=self.eot, large=large,
            )  # fmt: skip

        return pursue(x, attack, [partial(restart, number) for number in range(self.restarts)])


def auto_pgd(
    x: Tensor, attack: Attack, loss: Loss, rng: Rng, *, steps: int, rho: float, eot: int, large: bool
) -> Found:
    """Run Auto-PGD once from a random start; ``large``: through balls of 3 eps and 2 eps down to the true one."""
    found: Found | None = None
    phases = auto_step.budgets(steps) if large else ((1.0, steps),)
    for share, count in phases:
        ball = replace(attack.ball, eps=share * attack.ball.eps)
        start = auto_step.start(x, ball, rng) if found is None else ball.project(found.adv, x)
        moves = auto_step.schedule(x, ball, steps=count, rho=rho, start=start if large else None)
        found = climb(start, attack, loss, moves, count, eot=eot, watch=share == 1.0)
    assert found is not None
    return found


def phased(largereps: bool | None, ball: Ball) -> bool:
    """Say whether to go through larger balls first: in L1 unless refused; raises ``UsageError`` elsewhere."""
    if largereps and ball.norm != "L1":
        raise UsageError(f"largereps = true is an attack in L1, but the threat's norm is {ball.norm}: remove it")
    return ball.norm == "L1" if largereps is None else largereps


def _cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    return F.cross_entropy(logits, label, reduction="none")


def _toward(logits: Tensor, label: Tensor, target: Tensor) -> Tensor:
    return -_cross_entropy(logits, target)


_LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {"cross-entropy": _cross_entropy, "dlr": dlr}
)
_TARGETED: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = MappingProxyType(
    {"cross-entropy": _toward, "dlr": targeted_dlr}
)
