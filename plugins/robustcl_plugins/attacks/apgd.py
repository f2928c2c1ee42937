"""Auto-PGD at evaluation: on the cross-entropy, on the difference of logits ratio, and toward each likely class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from robustcl.options import Count
from robustcl.protocols import Need, PerturbationGenerator
from robustcl.threat import Ball
from robustcl_plugins.generators.apgd import APGD
from robustcl_plugins.generators.apgd_targeted import APGDTargeted
from robustcl_plugins.generators.margin import target_count


class APGDCrossEntropy:
    """Auto-PGD with 100 steps on the cross-entropy; in L1 through balls of 3 eps and 2 eps first.

    For another number of steps name the generator as the attack, { use = "apgd", steps = 250 }.

    restarts: random starts; the published standard evaluation takes 1, in L1 5.
    eot: forward passes that each gradient averages, for models that draw at random.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PREDICTIONS, Need.LABELS})
    citation: ClassVar[str] = f"APGD-CE of {APGD.citation}"

    def __init__(self, *, restarts: Count = 1, eot: Count = 1) -> None:
        self.restarts = restarts
        self.eot = eot

    def members(self, classes: int, ball: Ball) -> Sequence[tuple[str, PerturbationGenerator]]:
        return [("apgd-ce", APGD(steps=100, restarts=self.restarts, eot=self.eot))]


class APGDLogitsRatio:
    """Auto-PGD with 100 steps on the difference of logits ratio (DLR); in L1 through balls of 3 eps and 2 eps first.

    Of two classes, where the ratio is constant, it climbs the margin between them.

    restarts, eot: as in ``apgd-ce``.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PREDICTIONS, Need.LABELS})
    citation: ClassVar[str] = f"APGD-DLR of {APGD.citation}"

    def __init__(self, *, restarts: Count = 1, eot: Count = 1) -> None:
        self.restarts = restarts
        self.eot = eot

    def members(self, classes: int, ball: Ball) -> Sequence[tuple[str, PerturbationGenerator]]:
        return [("apgd-dlr", APGD(steps=100, restarts=self.restarts, loss="dlr", eot=self.eot))]


class APGDTargets:
    """Auto-PGD with 100 steps on the targeted DLR, toward each of the likeliest wrong classes in turn.

    targets: how many classes; left out nine, or all wrong ones where there are fewer. The published standard evaluation
    takes 9, in L1 5.
    restarts: random starts for each target; the published evaluation takes 1.
    eot: as in ``apgd-ce``.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PREDICTIONS, Need.LABELS})
    citation: ClassVar[str] = f"APGD-T of {APGD.citation}"

    def __init__(self, *, targets: Count | None = None, restarts: Count = 1, eot: Count = 1) -> None:
        self.targets = targets
        self.restarts = restarts
        self.eot = eot

    def members(self, classes: int, ball: Ball) -> Sequence[tuple[str, PerturbationGenerator]]:
        target_count(self.targets, classes, "apgd-t")
        return [("apgd-t", APGDTargeted(steps=100, targets=self.targets, restarts=self.restarts, eot=self.eot))]
