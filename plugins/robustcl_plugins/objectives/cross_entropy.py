"""Cross-entropy of the classifier on labelled images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from robustcl.contrast import wide
from robustcl.options import Fraction
from robustcl.protocols import Need
from robustcl.types import Scene


class CrossEntropy:
    """-log of the softmax probability of the label; on an adversarial view, the loss of adversarial training.

    Images without a label (-1) are left out: they neither add to the sum nor count in the mean.

    label_smoothing: the share of the target spread evenly over the classes.

    Term ``ce``: one row per labelled image, in their order in the batch.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.LABELS, Need.PREDICTIONS})
    citation: ClassVar[str] = (
        "Good, Rational Decisions, Journal of the Royal Statistical Society B, 1952; on adversarial inputs "
        "Madry, Makelov, Schmidt, Tsipras and Vladu, Towards Deep Learning Models Resistant to Adversarial "
        "Attacks, ICLR 2018, eq. 2.1"
    )
    views: ClassVar[tuple[str, ...]] = ("input",)
    terms: ClassVar[tuple[str, ...]] = ("ce",)
    separable: ClassVar[bool] = True

    def __init__(self, *, label_smoothing: Fraction = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def per_sample(self, scene: Scene) -> Mapping[str, Tensor]:
        label = scene.batch.label
        labelled = label >= 0
        logits = wide(scene.views["input"].logits)[labelled]
        smoothing = self.label_smoothing
        return {"ce": F.cross_entropy(logits, label[labelled], reduction="none", label_smoothing=smoothing)}
