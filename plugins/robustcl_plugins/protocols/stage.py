"""What protocols with a training stage share: their options, and the table of that stage."""

# No ``from __future__ import annotations``: a dataclass in another file inherits these annotations as they stand here,
# and as text they would be looked up among that file's names.

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from robustcl.options import Count, Fraction, NonNegative, Positive
from robustcl.protocols import Need


@dataclass(kw_only=True, eq=False)
class Tuning:
    """SGD with a stepped rate on the weak view ``w`` of the labelled training images."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.LABELS})

    epochs: Count = 25
    batch: Count = 128
    lr: Positive = 0.1
    decay_at: tuple[Count, ...] = (15, 20)
    decay: Fraction = 0.1
    momentum: Fraction = 0.9
    weight_decay: NonNegative = 2e-4
    initial: Literal["zero", "default"] = "default"
    view: dict[str, Any] | str = "weak"

    def tuning_stage(self, name: str, route: str, *, trainable: str, mode: str) -> dict[str, Any]:
        """Return a stage table that trains one part by cross-entropy on the view ``w`` through ``route``.

        ``trainable`` is "classifier" or "online", the whole encoder; ``mode`` the batch-norm mode of its forward
        passes.
        """
        decays = [epoch for epoch in self.decay_at if epoch < self.epochs]
        rates = [self.lr * self.decay**number for number in range(len(decays) + 1)]
        return {
            "name": name,
            "epochs": self.epochs,
            "batch": self.batch,
            "drop_last": False,
            "split": "train",
            "trainable": [trainable],
            "classifier": self.initial,
            "mode": mode,
            "views": {"w": self.view},
            "routes": {"w": route},
            "term": {"ce": {"use": "cross-entropy", "views": ["w"]}},
            "optimizer": {
                "use": "sgd",
                "lr": {"piecewise": rates, "at": decays} if decays else self.lr,
                "momentum": self.momentum,
                "weight_decay": self.weight_decay,
            },
        }


@dataclass(kw_only=True, eq=False)
class LinearTuning(Tuning):
    """The same of the classifier alone: the encoder is frozen."""

    batch: Count = 512
    mode: Literal["eval", "train"] = "eval"

    def linear_stage(self, name: str, route: str) -> dict[str, Any]:
        """Return the stage table that trains the classifier on the view ``w`` through ``route``."""
        return self.tuning_stage(name, route, trainable="classifier", mode=self.mode)


class Attacked(NamedTuple):
    """How the attack on TRADES' divergence goes; its start is TRADES' own where nothing is said."""

    steps: int
    step_size: float | None
    start: str = "gaussian"
    deviation: float = 0.001


def trades(stage: dict[str, Any], route: str, beta: float, how: Attacked) -> dict[str, Any]:
    """Return the stage with the divergence of TRADES beside its cross-entropy on clean views, and what maximises it.

    L = CE(f(w), y) + beta KL(f(w) || f(w')), where w' maximises the divergence in the recipe's ball and goes through
    the branch ``route``. Source: Zhang et al., TRADES, ICML 2019, eq. 5, and section 5 for the start at Gaussian noise.
    """
    attack = {"use": "pgd", "reads": ["w"], "maximise": "robust", "steps": how.steps, **step(how.step_size)}
    return {
        **stage,
        "routes": {**stage["routes"], "w_adv": route},
        "forward": "by-view",
        "generator": {"w_adv": {**attack, "start": how.start, "deviation": how.deviation}},
        "term": {
            **stage["term"],
            "robust": {"use": "kl", "views": {"clean": "w", "adversarial": "w_adv"}, "weight": beta},
        },
    }


def step(size: float | None) -> dict[str, float]:
    """Return the entry of an attack's table for its step; none where the step is the attack's own quarter of eps."""
    return {} if size is None else {"step_size": size}
