"""ProFeAT's adversary: away from the student's clean features and from the teacher's projection at once."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from robustcl import search
from robustcl.contrast import cosine_rows
from robustcl.options import Count, Length
from robustcl.protocols import Need
from robustcl.types import Attack


class ProFeAT:
    """Maximises -cos(h_f(s + d), h_f(s)) - cos(z_f(s + d), z_t(w)) in the ball around the student's view s.

    h_f(s) are the student's own features of the clean view, in the attack's batch-norm mode and without gradient.
    z_t(w) is the recipe's constant ``target``: the teacher's projection of another view w of the same image. Both
    have weight 1.

    steps, step_size, start: as in PGD; the defaults are those of the released code.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.FEATURES, Need.PROJECTION})
    citation: ClassVar[str] = (
        "Addepalli, Dey and Babu, ProFeAT: Projected Feature Adversarial Training for Self-Supervised Learning of "
        "Robust Representations, TMLR 2024, the attack loss"
    )
    constants: ClassVar[tuple[str, ...]] = ("target",)

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
        features, projection = attack.clean().h, attack.constants["target"].z

        def objective(candidates: Tensor) -> Tensor:
            embedding = attack.encode(candidates)
            return -cosine_rows(embedding.h, features) - cosine_rows(embedding.z, projection)

        return search.ascend(
            x,
            objective,
            attack.ball,
            steps=self.steps,
            step_size=self.step_size,
            rng=attack.rng,
            start=self.start,
        )
