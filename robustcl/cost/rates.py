"""How many images go through an encoder for one image."""

from __future__ import annotations

from dataclasses import dataclass

from robustcl.train.passes import FORWARD
from robustcl.train.stage import StageState


@dataclass(frozen=True, slots=True)
class Rates:
    """Images that go through an encoder for one image: forward alone, and with a gradient toward inputs or weights."""

    forward: float = 0.0
    inputs: float = 0.0
    weights: float = 0.0

    @property
    def passes(self) -> float:
        """As passes: once forward and backward, or three times forward."""
        return self.inputs + self.weights + FORWARD * self.forward

    def __add__(self, other: Rates) -> Rates:
        return Rates(self.forward + other.forward, self.inputs + other.inputs, self.weights + other.weights)

    def __mul__(self, factor: float) -> Rates:
        return Rates(self.forward * factor, self.inputs * factor, self.weights * factor)


def counted(run: StageState) -> Rates:
    """Return what a stage has counted since its count was last put back."""
    found = run.encoders.passes
    return Rates(found.forward, found.inputs, found.weights)
