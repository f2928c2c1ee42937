"""Local and global compactness: adversarial images close to clean ones of their class, far from those of others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import annotated_types
import torch
from torch import Tensor

from robustcl.contrast import LayerNeeds, wide
from robustcl.errors import UsageError
from robustcl.protocols import Need
from robustcl.types import Scene


class ADR:
    """Five terms of a clean image x_i with label y_i, latent z_i and prediction p_i, and its adversary (').

    Distance D_ij = mean over the dimensions of |sg(z_j) - z_i'| and smoothness S_ij = -sum_c sg(p_j)_c log p'_ic, where
    sg stops the gradient: the clean side stands still. The weight w_ij is 1 for two images of one class and
    (scale - 1) / scale, a little below zero, for two of different classes.

    Term ``lc``: D_ii. Term ``ls``: S_ii. Term ``gc``: mean_j w_ij D_ij. Term ``gs``: mean_j w_ij S_ij, over the images
    j of all ranks, the own one included. Term ``conf``: the entropy of p_i'. Each has one row per labelled image, in
    their order in the batch; images without a label (-1) are neither rows nor columns.

    Classes are compared by their labels: a batch of a single class has all weights 1, where the released code
    divides by the largest distance between two labels, 0, and becomes NaN.

    scale: between 0 and 1; the released code has 0.99.
    layer: the latent z: the features ``h`` before the classifier, or the projection ``z``.
    """

    needs = LayerNeeds("h", Need.LABELS, Need.PREDICTIONS)
    citation: ClassVar[str] = (
        "Bui, Le, Zhao, Montague, deVel, Abraham and Phung, Improving Adversarial Robustness by Enforcing Local and "
        "Global Compactness, ECCV 2020, section 3; the terms as in the authors' released code of Understanding and "
        "Achieving Efficient Robustness with Adversarial Supervised Contrastive Learning, 2021"
    )
    views: ClassVar[tuple[str, ...]] = ("clean", "adversarial")
    terms: ClassVar[tuple[str, ...]] = ("lc", "ls", "gc", "gs", "conf")
    rows: ClassVar[bool] = True

    def __init__(
        self,
        *,
        scale: Annotated[float, annotated_types.Gt(0), annotated_types.Le(1)] = 0.99,
        layer: Literal["h", "z"] = "h",
    ) -> None:
        self.scale = scale
        self.layer = layer

    def per_sample(self, scene: Scene) -> Mapping[str, Tensor]:
        label = scene.batch.label
        mine = label >= 0
        adversarial = wide(getattr(scene.views["adversarial"], self.layer))[mine]
        log_p = wide(scene.views["adversarial"].logits)[mine].log_softmax(dim=1)
        clean = wide(getattr(scene.views["clean"], self.layer)).detach()[mine]
        target = wide(scene.views["clean"].logits).detach()[mine].softmax(dim=1)
        if len(scene.rows.sample) != len(scene.views) * len(label):
            raise UsageError("adr: it compares two views of the online encoder; bind neither role to a frozen one")
        # The clean columns of all ranks: their role is the first.
        theirs = (scene.columns.view == 0) & (scene.columns.label >= 0)
        all_clean = wide(getattr(scene.columns, self.layer)).detach()[theirs]
        all_targets = wide(scene.columns.logits).detach()[theirs].softmax(dim=1)
        same = label[mine][:, None] == scene.columns.label[theirs]
        weight = torch.where(same, 1.0, (self.scale - 1.0) / self.scale).to(log_p.dtype)
        distance = torch.cdist(adversarial, all_clean, p=1) / clean.shape[1]
        return {
            "lc": (clean - adversarial).abs().mean(dim=1),
            "ls": -(target * log_p).sum(dim=1),
            "gc": (weight * distance).mean(dim=1),
            "gs": (weight * -(log_p @ all_targets.T)).mean(dim=1),
            "conf": -(log_p.exp() * log_p).sum(dim=1),
        }
