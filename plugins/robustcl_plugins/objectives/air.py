"""Adversarial invariant regularization: two augmentations of an image should relate alike to its original."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from robustcl.contrast import cosine_rows
from robustcl.errors import UsageError
from robustcl.options import Positive
from robustcl.protocols import Need
from robustcl.types import Rows, Scene


class AIR:
    """Standard (SIR) and adversarial (AIR) invariant regularization, both softmaxes over the images of a batch.

    With s(u, v) = cos(u, v) / temperature of an image's own pair, the projections z1, z2 of its two views, a1, a2 of
    their perturbed versions and o of the original:

    p = softmax_b s(z1, o), q = softmax_b s(z2, o); P = softmax_b s(a1, o) * softmax_b s(a1, z1), Q likewise of view 2.

    Term ``sir``: KL(q || p); term ``air``: KL(Q || P); each a scalar, summed over the images of all ranks. Gradient
    flows to all five views. Both lose their meaning with one image a batch, where they are constant.

    temperature: divides the cosines.
    formula: "corrected" computes the divergences that the paper names; P and Q are divided by their sums, because a
        product of two distributions is none: sir and air are then >= 0, and 0 where both views relate alike.
        "as-published" is what the released code computes: sum_b q (log q - p) and sum_b Q (log Q - P), a probability
        where a divergence has its logarithm, and P, Q as they are. With N images sir is then about -log N, air
        about -2 log(N) / N, and the gradient of both is up to a thousand times smaller than NT-Xent's.

    The paper states no stop-gradient, and none is taken.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PROJECTION})
    citation: ClassVar[str] = (
        "Xu, Zhang, Liu, Sugiyama and Kankanhalli, Enhancing Adversarial Contrastive Learning via Adversarial "
        "Invariant Regularization, NeurIPS 2023, section 3 (SIR and AIR)"
    )
    views: ClassVar[tuple[str, ...]] = ("first", "second", "first-adversarial", "second-adversarial", "original")
    terms: ClassVar[tuple[str, ...]] = ("sir", "air")
    rows: ClassVar[bool] = True

    def __init__(
        self, *, temperature: Positive = 0.5, formula: Literal["corrected", "as-published"] = "corrected"
    ) -> None:
        self.temperature = temperature
        self.formula = formula

    def per_sample(self, scene: Scene) -> Mapping[str, Tensor]:
        if len(scene.rows.view) != len(self.views) * len(scene.batch.index):
            raise UsageError(
                "air: a frozen encoder's view is bound to one of the roles, whose images are then unknown on other "
                "ranks: bind all five roles to views of the trained encoder"
            )
        z = _projections(scene.columns, len(self.views))
        first, second, first_adv, second_adv, original = z
        p, q = self._log_softmax(first, original), self._log_softmax(second, original)
        p_adv = self._log_softmax(first_adv, original) + self._log_softmax(first_adv, first)
        q_adv = self._log_softmax(second_adv, original) + self._log_softmax(second_adv, second)
        return {"sir": self._divergence(q, p), "air": self._divergence(q_adv, p_adv)}

    def _log_softmax(self, u: Tensor, v: Tensor) -> Tensor:
        """Return the log-softmax over images (B,) of how near each u (B, D) is to its own v (B, D)."""
        return (cosine_rows(u, v) / self.temperature).log_softmax(dim=0)

    def _divergence(self, q: Tensor, p: Tensor) -> Tensor:
        """Return the divergence of two log-weights (B,), as the formula has it."""
        if self.formula == "as-published":
            return (q.exp() * (q - p.exp())).sum()
        q, p = q.log_softmax(dim=0), p.log_softmax(dim=0)
        return (q.exp() * (q - p)).sum()


def _projections(columns: Rows, views: int) -> list[Tensor]:
    """Return each view's projections (B, D) of the images of all ranks, in the same order."""
    view: Tensor = columns.view
    z: Tensor = columns.z
    return [z[torch.nonzero(view == number)[:, 0]] for number in range(views)]
