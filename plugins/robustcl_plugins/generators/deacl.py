"""DeACL's adversary: away from what the frozen teacher says of the clean image."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from robustcl import search
from robustcl.contrast import cosine_rows
from robustcl.options import Count, Length
from robustcl.protocols import Need
from robustcl.types import Attack


class DeACL:
    """Maximises -cos(f(x + d), t(x)): student f against the frozen teacher's clean features t, no labels.

    steps, step_size, start: as in PGD; the defaults are those of the released scripts.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.FEATURES, Need.TEACHER})
    citation: ClassVar[str] = (
        "Zhang, Zhang, Zhang, Niu, Feng, Yoo and Kweon, Decoupled Adversarial Contrastive Learning for "
        "Self-supervised Adversarial Robustness, ECCV 2022, stage 2"
    )

    def __init__(
        self,
        *,
        steps: Count = 5,
        step_size: Length = 2 / 255,
        start: Literal["none", "uniform"] = "uniform",
    ) -> None:
        self.steps = steps
        self.step_size = step_size
        self.start = start

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        target = attack.teacher.h
        return search.ascend(
            x,
            lambda v: -cosine_rows(attack.encode(v).h, target),
            attack.ball,
            steps=self.steps,
            step_size=self.step_size,
            rng=attack.rng,
            start=self.start,
        )
