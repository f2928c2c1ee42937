"""AutoAttack: the published ensembles, each member on what the earlier ones left standing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Literal

from robustcl.errors import UsageError
from robustcl.protocols import Need, PerturbationGenerator
from robustcl.threat import Ball
from robustcl_plugins.generators.apgd import APGD
from robustcl_plugins.generators.apgd_targeted import APGDTargeted
from robustcl_plugins.generators.fab import FAB
from robustcl_plugins.generators.fab_untargeted import FABUntargeted
from robustcl_plugins.generators.square import Square

_Members = Mapping[str, PerturbationGenerator]
_STEPS = 100
_TARGETS = 9


class AutoAttack:
    """Parameter-free attacks of different kinds in a row; a sample is robust if it stands after all of them.

    Every gradient member takes 100 steps. "standard": apgd-ce with 1 restart, apgd-t and fab-t toward the 9 likeliest
    wrong classes, square with 5,000 queries; in L1 apgd-ce has 5 restarts, apgd-t 5 targets, and both go through balls
    of 3 eps and 2 eps first. "plus", in Linf and L2: apgd-ce, apgd-dlr and untargeted fab with 5 restarts each, square,
    then apgd-t and fab-t as in "standard". "rand", for models that draw at random: apgd-ce and apgd-dlr, each gradient
    the average of 20 passes. With fewer than 10 classes every wrong class is a target; below 4 the losses have stated
    fall-backs, see ``apgd-targeted``.

    version: which ensemble. attacks_to_run: only these of its members, in the version's order; left out, all.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PREDICTIONS, Need.LABELS})
    citation: ClassVar[str] = (
        "Croce and Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free"
        " Attacks, ICML 2020, section 5 and appendix; L1: Croce and Hein, Mind the Box: l1-APGD for Sparse Adversarial"
        " Attacks on Image Classifiers, ICML 2021, section 5"
    )

    def __init__(
        self,
        *,
        version: Literal["standard", "plus", "rand"] = "standard",
        attacks_to_run: tuple[str, ...] | None = None,
    ) -> None:
        self.version = version
        self.attacks_to_run = attacks_to_run

    def defaults(self, classes: int, ball: Ball) -> Mapping[str, list[str]]:
        """Return the members that attack where none were chosen."""
        return {"attacks_to_run": [name for name, _ in self.members(classes, ball)]}

    def members(self, classes: int, ball: Ball) -> Sequence[tuple[str, PerturbationGenerator]]:
        """Return the members in order. Raises ``UsageError`` for a name in ``attacks_to_run`` that is none of them."""
        members = _VERSIONS[self.version](classes, ball)
        chosen = members if self.attacks_to_run is None else self.attacks_to_run
        for name in chosen:
            if name not in members:
                known = ", ".join(members)
                raise UsageError(f"autoattack.attacks_to_run: {self.version!r} has no member {name!r}; it has {known}")
        if not chosen:
            raise UsageError("autoattack.attacks_to_run names no member: leave it out for all of them")
        return [(name, generator) for name, generator in members.items() if name in chosen]


def _standard(classes: int, ball: Ball) -> _Members:
    wrong, l1 = max(classes - 1, 1), ball.norm == "L1"
    return {
        "apgd-ce": APGD(steps=_STEPS, restarts=5 if l1 else 1, largereps=l1),
        "apgd-t": APGDTargeted(steps=_STEPS, restarts=1, targets=min(5 if l1 else _TARGETS, wrong), largereps=l1),
        "fab-t": FAB(steps=_STEPS, restarts=1, targets=min(_TARGETS, wrong)),
        "square": Square(queries=5000, rescale=False, restarts=1),
    }


def _plus(classes: int, ball: Ball) -> _Members:
    if ball.norm == "L1":
        raise UsageError("autoattack.version = 'plus' is published for Linf and L2: in L1 take 'standard'")
    targeted = _standard(classes, ball)
    return {
        "apgd-ce": APGD(steps=_STEPS, restarts=5, largereps=False),
        "apgd-dlr": APGD(steps=_STEPS, restarts=5, loss="dlr", largereps=False),
        "fab": FABUntargeted(steps=_STEPS, restarts=5),
        "square": targeted["square"],
        "apgd-t": targeted["apgd-t"],
        "fab-t": targeted["fab-t"],
    }


def _rand(classes: int, ball: Ball) -> _Members:
    # largereps: the published version goes through larger balls in "standard" alone.
    return {
        "apgd-ce": APGD(steps=_STEPS, restarts=1, eot=20, largereps=False),
        "apgd-dlr": APGD(steps=_STEPS, restarts=1, loss="dlr", eot=20, largereps=False),
    }


_VERSIONS: Mapping[str, Callable[[int, Ball], _Members]] = MappingProxyType(
    {"standard": _standard, "plus": _plus, "rand": _rand}
)
