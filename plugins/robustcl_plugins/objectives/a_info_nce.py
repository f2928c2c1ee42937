"""A-InfoNCE: adversaries as inferior positives, and hard negatives, in a contrastive loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Lt
from torch import Tensor

from robustcl.contrast import LayerNeeds, candidates, cosine, log_sum_exp
from robustcl.errors import UsageError
from robustcl.options import Fraction, NonNegative, Positive
from robustcl.protocols import Need
from robustcl.types import Scene


class AInfoNCE:
    """SupCon's mean over positives p of l(i, p) = log Z_i - cos(z_i, z_p) / t, where adversaries count differently.

    Inferior positives: a pair of a clean row x and an adversarial row a costs, in both rows together,
    2 lambda [alpha l(x, sg(a)) + (1 - alpha) l(a, sg(x))], where sg holds the columns of the whole softmax fixed. The
    adversary takes the share 1 - alpha of the pull. Pairs of two clean rows stay as they are.

    Hard negatives (HCL): Z_i = P + max(G, F), where P is the mean of e^{s/t} over the positives, over the M negatives
    G = (sum_k w_k e^{s_k/t} - tau_plus M P) / (1 - tau_plus), w_k = e^{beta s_k/t} / mean_k e^{beta s_k/t}, with
    gradient, and the floor F = M e^{-1/t}. Without: Z_i is the sum of e^{s/t} over positives and negatives.

    temperature: t, divides the cosines.
    base_temperature: scales the loss by temperature / base_temperature, as SupCon's released code with 0.07; None: not.
    layer: the embedding compared, the projection ``z`` or the features ``h``.
    adversary: which of the bound views is the adversarial one, counted from 0.
    inferior: whether adversaries are inferior positives.
    alpha: the clean side's share of their pull; 0.5 treats both alike.
    adversarial_weight: lambda, of all pairs of a clean and an adversarial row.
    hard: whether negatives are weighed by their hardness.
    beta: how strongly; 0 weighs all alike.
    tau_plus: the probability that a negative is of the anchor's class.
    floor: "formula" as above; "released" is the floor of the code for AdvCL, M e^0: most anchors of random features
        fall below it, and then their negatives have no gradient.

    Term ``contrast``: (N,), one per row of the scene; exactly 0 for an anchor without positives.
    """

    needs = LayerNeeds("z", Need.PAIRS)
    citation: ClassVar[str] = (
        "Yu, Lou, Zhan, Li, Zuo, Liu and Liu, Adversarial Contrastive Learning via Asymmetric InfoNCE, ECCV 2022, "
        "section 3 and the released code; hard negatives: Robinson, Chuang, Sra and Jegelka, Contrastive Learning with "
        "Hard Negative Samples, ICLR 2021, eq. 4"
    )
    views: ClassVar[tuple[str, ...]] = ("*",)
    terms: ClassVar[tuple[str, ...]] = ("contrast",)

    def __init__(
        self,
        *,
        temperature: Positive = 0.5,
        base_temperature: Positive | None = None,
        layer: Literal["z", "h"] = "z",
        adversary: Annotated[int, Ge(0)] = 0,
        inferior: bool = True,
        alpha: Fraction = 0.2,
        adversarial_weight: NonNegative = 1.0,
        hard: bool = False,
        beta: NonNegative = 1.0,
        tau_plus: Annotated[float, Ge(0), Lt(1)] = 0.1,
        floor: Literal["formula", "released"] = "formula",
    ) -> None:
        self.temperature = temperature
        self.base_temperature = base_temperature
        self.layer = layer
        self.adversary = adversary
        self.inferior = inferior
        self.alpha = alpha
        self.adversarial_weight = adversarial_weight
        self.hard = hard
        self.beta = beta
        self.tau_plus = tau_plus
        self.floor = floor

    def per_sample(self, scene: Scene) -> Mapping[str, Tensor]:
        if self.adversary >= len(scene.views):
            raise UsageError(
                f"a-info-nce: adversary = {self.adversary}, but {len(scene.views)} views are bound, from 0 on: "
                "set it to the place of the adversarial view"
            )
        columns = candidates(scene)
        anchors, others = getattr(scene.rows, self.layer), getattr(columns, self.layer)
        positive, negative = scene.pairs.positive, scene.pairs.negative
        perturbed = scene.rows.view == self.adversary
        unequal = perturbed[:, None] != (columns.view == self.adversary)
        loss = self._pairwise(anchors, others, positive, negative)
        if self.inferior:
            fixed = self._pairwise(anchors, others.detach(), positive, negative)
            share = self.alpha + (1.0 - 2.0 * self.alpha) * perturbed.to(loss.dtype)[:, None]
            loss = torch.where(unequal, 2.0 * share * fixed, loss)
        loss = torch.where(unequal, self.adversarial_weight * loss, loss)
        count = positive.sum(dim=1).to(loss.dtype)
        mean = (loss * positive).sum(dim=1) / torch.where(count > 0, count, 1.0)
        scale = 1.0 if self.base_temperature is None else self.temperature / self.base_temperature
        return {"contrast": scale * torch.where(count > 0, mean, 0.0)}

    def _pairwise(self, anchors: Tensor, columns: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Return l(i, j) for all rows and columns, (N, M); it is read where j is a positive of i."""
        similarity = cosine(anchors, columns) / self.temperature
        if self.hard:
            partition = self._hard_partition(similarity, positive, negative)
        else:
            partition = log_sum_exp(similarity, positive + negative)
        return torch.where(positive > 0, partition[:, None] - similarity, 0.0)

    def _hard_partition(self, similarity: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Return log Z_i, (N,), computed relative to each row's largest candidate."""
        used = (positive > 0) | (negative > 0)
        lowest = -1.0 / self.temperature if self.floor == "formula" else 0.0
        top = similarity.detach().masked_fill(~used, lowest).amax(dim=1, keepdim=True).clamp(min=lowest)
        exponential = torch.where(used, similarity - top, 0.0).exp()
        own, others = positive.to(similarity.dtype), negative.to(similarity.dtype)
        mean_positive = (exponential * own).sum(dim=1) / own.sum(dim=1).clamp(min=torch.finfo(own.dtype).tiny)
        count = others.sum(dim=1)
        hardness = torch.where(used, self.beta * (similarity - top), 0.0).exp() * others
        mass = hardness.sum(dim=1)
        hardness = hardness * (count / torch.where(mass > 0, mass, 1.0))[:, None]
        raw = (hardness * exponential).sum(dim=1) - self.tau_plus * count * mean_positive
        floor = count * (lowest - top[:, 0]).exp()
        partition = mean_positive + torch.maximum(raw / (1.0 - self.tau_plus), floor)
        return top[:, 0] + partition.clamp(min=torch.finfo(partition.dtype).tiny).log()
