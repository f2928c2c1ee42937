"""What a stage has sent through its encoders: images forward alone, and forward and backward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from robustcl import ranks
from robustcl.nn.encoder import Encoder

FORWARD = 1.0 / 3.0
"""A forward alone, as a share of a pass: a backward takes about twice as long as its forward."""


@dataclass(slots=True)
class Passes:
    """Counts images, whichever encoder they go through; each view of an image counts, its patches are one."""

    forward: int = 0
    """Images that were embedded without a graph."""
    inputs: int = 0
    """Images that were embedded with a gradient toward themselves alone: an attack's."""
    weights: int = 0
    """Images that were embedded with a gradient toward weights."""
    complete: bool = True
    """Whether all of the stage was counted: checkpoints of earlier versions bring no count."""

    @property
    def images(self) -> float:
        """Passes, of one image each: once forward and backward, or three times forward."""
        return self.inputs + self.weights + FORWARD * self.forward

    def count(self, x: Tensor, outputs: Sequence[Tensor], encoder: Encoder) -> None:
        """Count images (R, ...) of which an encoder has made ``outputs``; asked for none, it did nothing."""
        if outputs:
            self.add(kind_of(x, outputs, encoder), len(x))

    def add(self, kind: str, images: int) -> None:
        """Count images of one kind, which is the name of its count."""
        setattr(self, kind, getattr(self, kind) + images)

    def gather(self, device: torch.device) -> None:
        """Give the counts of all ranks to the first one, which writes the checkpoints; every rank must call."""
        here = torch.tensor([getattr(self, name) for name in _COUNTS], dtype=torch.int64, device=device)
        for name, value in zip(_COUNTS, ranks.total(here).tolist(), strict=True):
            setattr(self, name, value if ranks.rank() == 0 else 0)

    def packed(self) -> dict[str, int | bool]:
        """Return the counts as plain values, for a checkpoint."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def unpacked(cls, packed: Mapping[str, Any] | None) -> Passes:
        """Return the counts of a checkpoint, on the first rank; ``None`` is what an earlier version has written.

        Raises:
            ValueError: a count that is none.
        """
        if packed is None:
            return cls(complete=False)
        for name in _COUNTS:
            if type(packed[name]) is not int or not 0 <= packed[name] < 2**53:
                raise ValueError(f"passes.{name} is {packed[name]!r:.40}, no count")
        forward, inputs, weights = (packed[name] if ranks.rank() == 0 else 0 for name in _COUNTS)
        return cls(forward, inputs, weights, complete=packed["complete"] is True)


_COUNTS = ("forward", "inputs", "weights")


def kind_of(x: Tensor, outputs: Sequence[Tensor], encoder: Encoder) -> str:
    """Return what it takes to go forward and, where a graph was kept, backward: the name of a count.

    Where a head alone learns, no gradient goes through the backbone: that is a forward alone.
    """
    back = any(output.requires_grad for output in outputs)
    if back and x.requires_grad and not _learns(encoder):
        return "inputs"
    if back and (x.requires_grad or any(weight.requires_grad for weight in encoder.backbone.parameters())):
        return "weights"
    return "forward"


def _learns(encoder: Encoder) -> bool:
    """Say whether an encoder's first weights are learnt; an attack holds all of them out of its graph."""
    first = next(encoder.parameters(), None)
    return first is not None and first.requires_grad
