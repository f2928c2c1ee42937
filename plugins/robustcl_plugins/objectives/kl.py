"""How far the classifier's prediction on an adversarial view is from its prediction on the clean one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from robustcl.contrast import wide
from robustcl.protocols import Need
from robustcl.types import Scene


class KL:
    """sum_c p_c(x) (log p_c(x) - log p_c(x')), where p is the softmax of the classifier's logits.

    The robust term of TRADES, and the local distributional smoothness of VAT; neither needs labels. Inside an
    attack the clean side is a constant, in training it has a gradient.

    stop_gradient: hold the clean prediction fixed in training as well, as VAT does. TRADES and its released code
        let the gradient through both sides.

    Term ``kl``: (B,), one row per image.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PREDICTIONS})
    citation: ClassVar[str] = (
        "Zhang, Yu, Jiao, Xing, El Ghaoui and Jordan, Theoretically Principled Trade-off between Robustness and "
        "Accuracy, ICML 2019, eq. 5 and section 5; with the clean side held fixed Miyato, Maeda, Koyama and Ishii, "
        "Virtual Adversarial Training, IEEE TPAMI 2019, eq. 5"
    )
    views: ClassVar[tuple[str, ...]] = ("clean", "adversarial")
    terms: ClassVar[tuple[str, ...]] = ("kl",)
    separable: ClassVar[bool] = True

    def __init__(self, *, stop_gradient: bool = False) -> None:
        self.stop_gradient = stop_gradient

    def per_sample(self, scene: Scene) -> Mapping[str, Tensor]:
        clean = wide(scene.views["clean"].logits).log_softmax(dim=1)
        adversarial = wide(scene.views["adversarial"].logits).log_softmax(dim=1)
        if self.stop_gradient:
            clean = clean.detach()
        return {"kl": (clean.exp() * (clean - adversarial)).sum(dim=1)}
