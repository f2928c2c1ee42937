"""No perturbation: the clean images, where a recipe or an evaluation asks for a generator."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from robustcl.protocols import Need
from robustcl.types import Attack


class NoPerturbation:
    """Returns the inputs as they are."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "The identity; no source"

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        return x.detach()
