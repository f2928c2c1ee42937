"""Standard full fine-tuning (FSF): encoder and classifier learn together from clean images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from robustcl_plugins.protocols.stage import Tuning


class StandardFull(Tuning):
    """Train the whole encoder and a classifier by cross-entropy on clean weak views.

    What pre-training has made robust is free to be forgotten: the protocol asks how much of it remains.

    epochs, batch, lr, momentum, weight_decay: of the SGD of encoder and classifier.
    decay_at: epochs at which the rate is multiplied by ``decay``.
    decay: that factor.
    initial: the classifier starts at zero or at torch's default.
    view: the view plugin, with its options.
    """

    version: ClassVar[str] = "fsf-v1"
    citation: ClassVar[str] = (
        "Chen, Liu, Chang, Cheng, Amini and Wang, Adversarial Robustness: From Self-Supervised Pre-Training to "
        "Fine-Tuning, CVPR 2020, section 3 (standard full fine-tuning); the schedule of Luo, Wang and Wang, DynACL, "
        "ICLR 2023"
    )

    def stages(self, route: str) -> Sequence[Mapping[str, Any]]:
        """Return the one stage that trains everything through ``route``."""
        return [self.tuning_stage("fsf", route, trainable="online", mode="train")]
