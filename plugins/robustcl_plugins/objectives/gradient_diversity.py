"""The volume that the input gradients of several tasks span: the regulariser of an ensemble of pretext tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from robustcl.contrast import unit
from robustcl.errors import UsageError
from robustcl.options import Positive
from robustcl.protocols import Need
from robustcl.types import Scene


class GradientDiversity:
    """g = log det(G^T G + ridge I) of each image, where column v of G is the unit gradient of the loss toward view v.

    The loss is the sum of what the earlier terms gave, so the gradient toward a view is that of the terms that read
    it, provided that views have forwards of their own (``forward = "by-view"``). The views must be listed in the
    stage's ``differentiable``; their items have equally many numbers. g is largest, about 0, for orthogonal gradients
    and falls without bound as they align. It is differentiated itself: the term costs a second backward pass.

    aim: "align" gives g, which the learner minimises and in the released code the attack maximises: what diverse
    attacks exploit is taken away. "diverse" gives -g: gradients are driven apart, as the name of the regulariser says.
    ridge: the small number on the diagonal.

    Term ``volume``: (B,).
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.VALUES})
    citation: ClassVar[str] = (
        "T. Chen, S. Liu, S. Chang, Y. Cheng, L. Amini, Z. Wang, Adversarial Robustness: From Self-Supervised "
        "Pre-Training to Fine-Tuning, CVPR 2020, section 3 (diversity-promoting regulariser of the ensemble)"
    )
    views: ClassVar[tuple[str, ...]] = ("*",)
    terms: ClassVar[tuple[str, ...]] = ("volume",)

    def __init__(self, *, aim: Literal["align", "diverse"] = "align", ridge: Positive = 1e-5) -> None:
        self.aim = aim
        self.ridge = ridge

    def per_sample(self, scene: Scene) -> Mapping[str, Tensor]:
        columns = torch.stack([unit(g.flatten(1)) for g in _gradients(scene)], dim=1)
        gram = (columns @ columns.transpose(1, 2)).double()  # aligned gradients leave a determinant of ridge squared
        ridge = self.ridge * torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
        volume = torch.logdet(gram + ridge).to(columns.dtype)
        return {"volume": volume if self.aim == "align" else -volume}


def _gradients(scene: Scene) -> list[Tensor]:
    """Return the gradients of what the earlier terms gave toward the term's views, with a graph.

    Raises UsageError for views that are no leaves, that no earlier term reads, or of unlike sizes.
    """
    names = [name.partition("@")[0] for name in scene.views]
    images = [scene.batch.views[name] for name in names]
    if fixed := [name for name, x in zip(names, images, strict=True) if not x.requires_grad]:
        raise UsageError(
            f"gradient-diversity: the view {fixed[0]!r} carries no gradient; add it to differentiable = [...] of the "
            "stage"
        )
    loss = torch.stack([value.sum() for value in scene.values.values()]).sum()
    found = torch.autograd.grad(loss, images, create_graph=True, allow_unused=True)
    gradients = []
    for name, gradient in zip(names, found, strict=True):
        if gradient is None:
            raise UsageError(f"gradient-diversity: no earlier term reads the view {name!r}; bind it to one of them")
        gradients.append(gradient)
    if len({g[0].numel() for g in gradients}) > 1:
        sizes = " and ".join(str(tuple(g.shape[1:])) for g in gradients)
        raise UsageError(
            f"gradient-diversity: gradients of shapes {sizes} cannot be compared; choose views of one size"
        )
    return gradients
