"""Random noise of the threat's size: what a perturbation without a search achieves."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from robustcl.protocols import Need
from robustcl.types import Attack


class UniformNoise:
    """A uniform point of the ball around each input, clamped to the range."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = (
        "Goodfellow, Shlens and Szegedy, Explaining and Harnessing Adversarial Examples, ICLR 2015,"
        " section 6: noise as the control for an adversary of the same size"
    )

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        return attack.ball.sample(x.detach(), attack.rng)
