"""MART: a boosted cross-entropy on adversaries, and a divergence that counts most for misclassified images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from robustcl.contrast import wide
from robustcl.options import NonNegative
from robustcl.protocols import Need
from robustcl.types import Scene


class MART:
    """Misclassification-aware adversarial training, of images x with label y and their adversaries x'.

    Term ``bce``: -log p_y(x') - log(1 - max_{k != y} p_k(x')). Term ``robust``: KL(p(x) || p(x')) (1 - p_y(x)),
    with gradient through every p. Both have one row per labelled image, in their order in the batch; images without
    a label (-1) are left out. The recipe's ``mix`` weighs ``robust`` by the paper's lambda.

    slack: added to 1 - p inside the logarithm of the margin; the released code has 0.0001, the paper nothing. Nothing
        is needed for a finite loss: the logarithm is taken of the other classes' probabilities.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.LABELS, Need.PREDICTIONS})
    citation: ClassVar[str] = (
        "Wang, Zou, Yi, Bailey, Ma and Gu, Improving Adversarial Robustness Requires Revisiting Misclassified "
        "Examples, ICLR 2020, eq. 8 to 11"
    )
    views: ClassVar[tuple[str, ...]] = ("clean", "adversarial")
    terms: ClassVar[tuple[str, ...]] = ("bce", "robust")
    separable: ClassVar[bool] = True

    def __init__(self, *, slack: NonNegative = 0.0) -> None:
        self.slack = slack

    def per_sample(self, scene: Scene) -> Mapping[str, Tensor]:
        labelled = scene.batch.label >= 0
        label = scene.batch.label[labelled][:, None]
        clean = wide(scene.views["clean"].logits)[labelled].log_softmax(dim=1)
        adversarial = wide(scene.views["adversarial"].logits)[labelled].log_softmax(dim=1)
        divergence = (clean.exp() * (clean - adversarial)).sum(dim=1)
        return {
            "bce": -adversarial.gather(1, label)[:, 0] - self._margin(adversarial, label),
            "robust": divergence * (1.0 - clean.gather(1, label)[:, 0].exp()),
        }

    def _margin(self, log_p: Tensor, label: Tensor) -> Tensor:
        """Return log(1 - max_{k != y} p_k + slack), (B,), for log-probabilities (B, L)."""
        rival = log_p.detach().scatter(1, label, -torch.inf).argmax(dim=1, keepdim=True)
        others = log_p.scatter(1, rival, -torch.inf).logsumexp(dim=1)
        return torch.logaddexp(others, torch.full_like(others, self.slack).log())
