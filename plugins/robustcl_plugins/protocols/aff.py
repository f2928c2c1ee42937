"""Adversarial full fine-tuning (AFF): encoder and classifier learn together by TRADES."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from robustcl.options import Count, Length, Positive
from robustcl_plugins.protocols.stage import Attacked, Tuning, trades


@dataclass(kw_only=True, eq=False)
class AdversarialFull(Tuning):
    """Train the whole encoder and a classifier on clean weak views, and on how far predictions move under attack.

    L = CE(f(w), y) + beta KL(f(w) || f(w')), where w' maximises the same divergence in the recipe's ball. The
    defaults are DynACL's (lr 0.1, 25 epochs, batch 128, decays at 15 and 20); ACL on CIFAR-10 takes 100 epochs with
    decays at 40 and 60, DeACL lr 0.01 and batch 512.

    epochs, batch, lr, momentum, weight_decay: of the SGD of encoder and classifier.
    decay_at: epochs at which the rate is multiplied by ``decay``.
    decay: that factor.
    initial: the classifier starts at zero (ACL, DynACL) or at torch's default.
    view: the view plugin, with its options.
    beta: the weight of the divergence.
    steps, step_size: of the attack; the step, left out, is a quarter of the ball's eps (the papers' 2/255 at 8/255).
    start: where the attack starts: Gaussian noise of ``deviation``, a uniform point of the ball, or the image itself.
    deviation: of that noise.
    clean_route: the batch-norm branch of the clean view. Empty is the judged route, one branch for both (ACL);
        DynACL keeps two: "clean" beside the judged route "adv".
    """

    version: ClassVar[str] = "aff-v1"
    citation: ClassVar[str] = (
        "Jiang, Chen, Chen and Wang, Robust Pre-Training by Adversarial Contrastive Learning, NeurIPS 2020, section 4 "
        "(fine-tuning by TRADES); Luo, Wang and Wang, DynACL, ICLR 2023, section 5 (the schedule); "
        "Zhang et al., TRADES, ICML 2019, eq. 5 (the loss)"
    )

    initial: Literal["zero", "default"] = "zero"
    beta: Positive = 6.0
    steps: Count = 10
    step_size: Length | None = None
    start: Literal["none", "uniform", "gaussian"] = "gaussian"
    deviation: Positive = 0.001
    clean_route: str = ""

    def stages(self, route: str) -> Sequence[Mapping[str, Any]]:
        """Return the one stage that trains everything, adversaries through ``route``."""
        stage = self.tuning_stage("aff", self.clean_route or route, trainable="online", mode="train")
        how = Attacked(self.steps, self.step_size, self.start, self.deviation)
        return [trades(stage, route, self.beta, how)]
