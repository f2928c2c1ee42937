"""Linear evaluation of a frozen encoder: standard (SLF) and adversarial (ALF) linear fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from robustcl.options import Count, Length, Positive
from robustcl_plugins.protocols.stage import Attacked, LinearTuning, step, trades


class StandardLinear(LinearTuning):
    """Train a linear classifier on clean weak views; the encoder is frozen.

    epochs, batch, lr, momentum, weight_decay: of the classifier's SGD.
    decay_at: epochs at which the rate is multiplied by ``decay``.
    decay: that factor.
    mode: batch-norm mode of the frozen encoder; "eval" freezes its statistics, "train" re-estimates them as DeACL's
        released script does.
    initial: the classifier starts at zero (ACL, DynACL, AIR) or at torch's default.
    view: the view plugin, with its options.
    """

    version: ClassVar[str] = "slf-v1"
    citation: ClassVar[str] = (
        "NCP-ACL, Cluster-driven adversarial perturbations for robust contrastive learning, "
        "double-blind submission without a date (its newest reference is of 2023), A.3.1; "
        "the protocol of Zhang et al., DeACL, ECCV 2022"
    )

    def stages(self, route: str) -> Sequence[Mapping[str, Any]]:
        """Return the one stage that trains the classifier on features through ``route``."""
        return [self.linear_stage("slf", route)]


@dataclass(kw_only=True, eq=False)
class AdversarialLinear(LinearTuning):
    """Train a linear classifier on PGD examples against itself, or by the loss of TRADES; the encoder is frozen.

    Left out, ``loss`` is the cross-entropy of PGD examples. With "trades" it is CE(f(w), y) + beta KL(f(w) || f(w')):
    clean views are learnt, and w', which starts at TRADES' small Gaussian noise, maximises the divergence.

    epochs, batch, lr, momentum, weight_decay: of the classifier's SGD.
    decay_at: epochs at which the rate is multiplied by ``decay``.
    decay: that factor.
    mode: batch-norm mode of the frozen encoder in the training forward; attacks look in eval mode.
    initial: the classifier starts at zero or at torch's default; from zero, the first batch's attack has no gradient.
    view: the view plugin, with its options.
    steps, step_size: of the PGD attack, in the recipe's ball; the step, left out, is a quarter of its eps (the paper's
        2/255 at 8/255).
    loss: "trades" (ASCL-Li's default, and DeACL's script), or left out.
    beta: the weight of its divergence; left out, 6. Nothing else reads it.
    """

    version: ClassVar[str] = "alf-v1"
    citation: ClassVar[str] = (
        "NCP-ACL, Cluster-driven adversarial perturbations for robust contrastive learning, "
        "double-blind submission without a date (its newest reference is of 2023), A.3.2; "
        "by TRADES: Li et al., Adversarial supervised contrastive learning, Machine Learning, 2022, section 4.1"
    )
    later: ClassVar[tuple[str, ...]] = ("loss", "beta")

    steps: Count = 10
    step_size: Length | None = None
    loss: Literal["trades"] | None = None
    beta: Positive | None = None

    def __post_init__(self) -> None:
        """Refuse a weight that nothing reads."""
        if self.loss is None and self.beta is not None:
            raise ValueError(f'beta = {self.beta:g} weighs the divergence of loss = "trades"; give both, or neither')

    def stages(self, route: str) -> Sequence[Mapping[str, Any]]:
        """Return the one stage that trains the classifier on adversaries through ``route``."""
        stage = self.linear_stage("alf", route)
        if self.loss == "trades":
            return [trades(stage, route, self.beta or 6.0, Attacked(self.steps, self.step_size))]
        stage["routes"] = {"w": route, "w_adv": route}
        stage["generator"] = {"w_adv": {"use": "pgd", "reads": ["w"], "steps": self.steps, **step(self.step_size)}}
        stage["term"]["ce"]["views"] = ["w_adv"]
        return [stage]
