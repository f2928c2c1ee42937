"""A pretext task as a classification: a linear head of its own predicts what the view did to the image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import annotated_types
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcl.contrast import wide
from robustcl.errors import UsageError
from robustcl.protocols import Need
from robustcl.types import Dims, Scene


class Pretext(nn.Module):
    """The mean over the views v of -log softmax(W h_v + b)[t], with a clean and an adversarial view half of each.

    W (classes, F) and b belong to the objective and are learnt with the encoder. The target t (B,) is what a pretext
    view (``rotation``, ``jigsaw``) made. A view that made none, such as a perturbed one, has the target of the one
    view of the term that made it.

    classes: how many answers there are: 4 rotations; with 30 permutations of a jigsaw 31.
    task: the view whose target counts for all views of the term; by default each view's own, or the term's only one.

    Term ``ce``: (B,).
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.FEATURES, Need.TARGET})
    citation: ClassVar[str] = (
        "T. Chen, S. Liu, S. Chang, Y. Cheng, L. Amini, Z. Wang, Adversarial Robustness: From Self-Supervised "
        "Pre-Training to Fine-Tuning, CVPR 2020, section 3 (adversarial pretraining)"
    )
    views: ClassVar[tuple[str, ...]] = ("*",)
    terms: ClassVar[tuple[str, ...]] = ("ce",)
    separable: ClassVar[bool] = True

    def __init__(self, *, classes: Annotated[int, annotated_types.Ge(2)] = 4, task: str | None = None) -> None:
        super().__init__()
        self.classes = classes
        self.task = task

    def build(self, dims: Dims) -> None:
        """Make the head."""
        self.head = nn.Linear(dims.features, self.classes)

    def per_sample(self, scene: Scene) -> Mapping[str, Tensor]:
        losses = []
        for name, embedding in scene.views.items():
            target = target_of(scene, name, self.task)
            h = wide(embedding.h)
            self._check(h, target, name)
            logits = F.linear(h, self.head.weight.to(h.dtype), self.head.bias.to(h.dtype))
            losses.append(F.cross_entropy(logits, target, reduction="none"))
        return {"ce": torch.stack(losses).mean(0)}

    def _check(self, h: Tensor, target: Tensor, name: str) -> None:
        if h.dim() != 2 or target.dim() != 1:
            raise UsageError(
                f"pretext: the view {name!r} has features {tuple(h.shape)} and targets {tuple(target.shape)}, not one "
                "answer for each image; views of patches belong to the objective selfie"
            )
        if bool((target >= self.classes).any()):
            raise UsageError(
                f"pretext: the target of {name!r} has the answer {int(target.max())}, but the head only "
                f"{self.classes}: set classes = {int(target.max()) + 1} or more"
            )


def target_of(scene: Scene, view: str, task: str | None = None) -> Tensor:
    """Return the pretext target of one of a term's views: of ``task``, its own, or the term's or stage's only one.

    Raises UsageError where there is none, or several without a ``task``.
    """
    targets = scene.batch.target
    if task is not None:
        if task not in targets:
            raise UsageError(f"task = {task!r}: that view made no target; those that did are {_listed(targets)}")
        return targets[task]
    for names in ([view], list(scene.views), list(targets)):
        found = [name for name in (text.partition("@")[0] for text in names) if name in targets]
        if len(set(found)) == 1:
            return targets[found[0]]
        if found:
            break
    raise UsageError(
        f"the view {view!r} made no pretext target, and those that did are {_listed(targets)}: say which one counts, "
        'e.g. task = "NAME"'
    )


def _listed(targets: Mapping[str, Tensor]) -> str:
    return ", ".join(targets) or "none"
