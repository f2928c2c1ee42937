"""Auto-PGD toward one wrong class after another."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from torch import Tensor

from robustcl.contrast import wide
from robustcl.options import Count, Fraction
from robustcl.protocols import Need
from robustcl.threat import Ball
from robustcl.types import Attack
from robustcl_plugins.generators.apgd import APGD, auto_pgd, phased
from robustcl_plugins.generators.margin import likely_targets, target_count, targeted_dlr
from robustcl_plugins.generators.standing import Found, pursue


class APGDTargeted:
    """Auto-PGD on the targeted difference of logits ratio, for each of the likeliest wrong classes in turn.

    The classes are ordered by the clean logits; each sample is attacked toward the next one as long as it stands.
    Where no target fools it, a sample keeps the input that came nearest to doing so. Works for two classes and more:
    below four the loss has stated fall-backs, see ``margin.targeted_dlr``. One more forward pass than the runs of
    ``apgd``, for the clean logits.

    steps: gradient steps of each run. targets: how many wrong classes; left out the nine likeliest, or all where there
    are fewer. restarts: random starts for each. rho, eot, largereps: as in ``apgd``.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PREDICTIONS, Need.LABELS})
    citation: ClassVar[str] = APGD.citation

    def __init__(
        self,
        *,
        steps: Count = 100,
        targets: Count | None = None,
        restarts: Count = 1,
        rho: Fraction = 0.75,
        eot: Count = 1,
        largereps: bool | None = None,
    ) -> None:
        self.steps = steps
        self.targets = targets
        self.restarts = restarts
        self.rho = rho
        self.eot = eot
        self.largereps = largereps

    def check_threat(self, classes: int, ball: Ball, who: str) -> None:
        """Raise ``UsageError`` for more targets than there are wrong classes."""
        target_count(self.targets, classes, who)

    def defaults(self, classes: int, ball: Ball) -> Mapping[str, int | bool]:
        """Return the number of targets, and whether larger balls come first, where these were left open."""
        large = {"largereps": phased(None, ball)} if self.largereps is None else {}
        return {"targets": target_count(self.targets, classes, "apgd-targeted"), **large}

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        x, large = x.detach(), phased(self.largereps, attack.ball)
        logits = wide(attack.clean().logits)
        targets = likely_targets(logits, attack.label, target_count(self.targets, logits.shape[1], "apgd-targeted"))

        def run(rank: int, number: int, rows: Tensor, some: Attack) -> Found:
            target = targets[rows, rank]
            return auto_pgd(
                x[rows], some, lambda logits, row: targeted_dlr(logits, some.label[row], target[row]),
                some.rng.child("target", rank, "restart", number),
                steps=self.steps, rho=self.rho, eot=self.eot, large=large,
            )  # fmt: skip

        ranks, restarts = range(targets.shape[1]), range(self.restarts)
        return pursue(x, attack, [partial(run, rank, number) for number in restarts for rank in ranks])
