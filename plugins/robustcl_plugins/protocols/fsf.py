"""Standard full fine-tuning (FSF): encoder and classifier learn together from clean images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from robustcl.options import Count, Fraction, NonNegative, Positive
from robustcl.protocols import Need
from robustcl_plugins.protocols.stage import tuning_stage


class StandardFull:
    """Train the whole encoder and a classifier by cross-entropy on clean weak views.

    What pre-training has made robust is free to be forgotten: the protocol asks how much of it remains.

    epochs, batch, lr, momentum, weight_decay: of the SGD of encoder and classifier.
    decay_at: epochs at which the rate is multiplied by ``decay``.
    decay: that factor.
    initial: the classifier starts at zero or at torch's default.
    view: the view plugin, with its options.
    """

    version: ClassVar[str] = "fsf-v1"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LABELS})
    citation: ClassVar[str] = (
        "Chen, Liu, Chang, Cheng, Amini and Wang, Adversarial Robustness: From Self-Supervised Pre-Training to "
        "Fine-Tuning, CVPR 2020, section 3 (standard full fine-tuning); the schedule of Luo, Wang and Wang, DynACL, "
        "ICLR 2023"
    )

    def __init__(
        self,
        *,
        epochs: Count = 25,
        batch: Count = 128,
        lr: Positive = 0.1,
        decay_at: tuple[Count, ...] = (15, 20),
        decay: Fraction = 0.1,
        momentum: Fraction = 0.9,
        weight_decay: NonNegative = 2e-4,
        initial: Literal["zero", "default"] = "default",
        view: dict[str, Any] | str = "weak",
    ) -> None:
        self.epochs = epochs
        self.batch = batch
        self.lr = lr
        self.decay_at = decay_at
        self.decay = decay
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.initial = initial
        self.view = view

    def stages(self, route: str) -> Sequence[Mapping[str, Any]]:
        """Return the one stage that trains everything through ``route``."""
        return [tuning_stage(self, "fsf", route, trainable="online", mode="train")]
