"""A generator as an evaluation attack: whatever perturbs in training, a foreign attack included, can judge as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from robustcl.protocols import Need, PerturbationGenerator
from robustcl.threat import Ball


class Solo:
    """An attack with one member."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "no source: the generator's own"

    def __init__(self, *, name: str, generator: PerturbationGenerator) -> None:
        self.name = name
        self.generator = generator

    def members(self, classes: int, ball: Ball) -> Sequence[tuple[str, PerturbationGenerator]]:
        """Return the generator under its own name."""
        return [(self.name, self.generator)]
