"""The image as it is."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from robustcl.protocols import Need
from robustcl.rng import Rng


class Unchanged:
    """The identity: what is evaluated, clustered and measured on."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "no source: the identity"

    def draw(self, x: Tensor, rng: Rng) -> Tensor:
        """Return x."""
        return x
