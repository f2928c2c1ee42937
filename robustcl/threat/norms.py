"""The norms, by name, and all that a ball has to know of each. A new one is a class and its line in ``NORMS``."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from robustcl.rng import Rng
from robustcl.threat.newton import positive
from robustcl.threat.shrink import shrink_l1, shrink_l2

Range = tuple[float, float] | None
"""The lowest and the highest valid value; ``None`` where every value is valid."""


class NormGeometry(Protocol):
    """What a ball knows of its norm: tensors are in the width of float32 or float64, rows never look at each other."""

    order: float
    """Its number, by which it may be named: 1, 2, infinity."""

    def length(self, delta: Tensor) -> Tensor:
        """Return the norm of each row of (R, d)."""

    def project(self, adv: Tensor, x: Tensor, eps: Tensor | float, range: Range) -> Tensor:
        """Return the nearest point of the ball around x (R, *item) within the range."""

    def ascend(self, adv: Tensor, gradient: Tensor, step: Tensor | float, range: Range) -> Tensor:
        """Return ``adv`` after one step of this length in the steepest direction."""

    def sample(self, x: Tensor, rng: Rng) -> Tensor:
        """Return uniform points of the unit ball, in x's shape."""


class _Linf:
    order = math.inf

    def length(self, delta: Tensor) -> Tensor:
        return delta.abs().amax(1)

    def project(self, adv: Tensor, x: Tensor, eps: Tensor | float, range: Range) -> Tensor:
        kind = torch.promote_types(adv.dtype, x.dtype)  # and not that of the radii of rows
        adv = torch.clamp(adv, x - eps, x + eps).to(kind)
        return adv if range is None else adv.clamp_(*range)

    def ascend(self, adv: Tensor, gradient: Tensor, step: Tensor | float, range: Range) -> Tensor:
        return adv + step * gradient.sign()

    def sample(self, x: Tensor, rng: Rng) -> Tensor:
        return rng.uniform(x.shape, -1.0, 1.0, device=x.device, dtype=x.dtype)


class _L2:
    order = 2.0

    def length(self, delta: Tensor) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(delta, dim=1)
        return length

    def project(self, adv: Tensor, x: Tensor, eps: Tensor | float, range: Range) -> Tensor:
        return shrink_l2(adv, x, eps, range)

    def ascend(self, adv: Tensor, gradient: Tensor, step: Tensor | float, range: Range) -> Tensor:
        flat = gradient.flatten(1)
        # Dividing by the largest entry first keeps tiny gradients from vanishing when they are squared.
        flat = flat / positive(flat.abs().amax(1, keepdim=True))
        return adv + step * (flat / positive(self.length(flat)[:, None])).view_as(adv)

    def sample(self, x: Tensor, rng: Rng) -> Tensor:
        direction = rng.normal(x.shape, device=x.device, dtype=x.dtype).flatten(1)
        radius = rng.uniform((len(x), 1), device=x.device, dtype=x.dtype) ** (1.0 / max(direction.shape[1], 1))
        return (direction / positive(self.length(direction)[:, None]) * radius).view(x.shape)


class _L1:
    order = 1.0

    def length(self, delta: Tensor) -> Tensor:
        return delta.abs().sum(1)

    def project(self, adv: Tensor, x: Tensor, eps: Tensor | float, range: Range) -> Tensor:
        return shrink_l1(adv, x, eps, range)

    def ascend(self, adv: Tensor, gradient: Tensor, step: Tensor | float, range: Range) -> Tensor:
        """Step along the few largest entries of the gradient whose room within the range adds up to the step.

        Without a range that is the largest entry alone, the steepest direction of L1. With one it is the
        support of the steepest direction in ball and box together (Croce and Hein, Mind the box, ICML 2021,
        section 3). The entries keep their proportions, and full ones are pushed on, so that the projection
        leaves them full.
        """
        flat, column = gradient.flatten(1).double(), step.flatten(1) if isinstance(step, Tensor) else step
        size, order = flat.abs().sort(1, descending=True)
        room = torch.full_like(size, math.inf)
        if range is not None:
            value = adv.flatten(1).double()
            room = torch.where(flat > 0, range[1] - value, value - range[0]).clamp_(min=0.0).gather(1, order)
        before = torch.nn.functional.pad(room.cumsum(1)[:, :-1], (1, 0))
        chosen = torch.where(before < column, size, 0.0)
        free = torch.where(room > 0.0, chosen, 0.0).sum(1, keepdim=True)
        length = torch.where(free > 0.0, free, chosen.sum(1, keepdim=True))
        move = torch.zeros_like(flat).scatter_(1, order, chosen / positive(length)) * flat.sign()
        return adv + (column * move).to(adv.dtype).view_as(adv)

    def sample(self, x: Tensor, rng: Rng) -> Tensor:
        """Normalise d + 1 exponentials and drop the last: uniform in the simplex; then draw signs."""
        flat = x.flatten(1).shape
        wait = -torch.log1p(-rng.uniform((flat[0], flat[1] + 1), device=x.device, dtype=x.dtype))
        sign = rng.uniform(flat, -1.0, 1.0, device=x.device, dtype=x.dtype).sign()
        return (wait[:, :-1] / positive(wait.sum(1, keepdim=True)) * sign).view(x.shape)


NORMS: dict[str, NormGeometry] = {"Linf": _Linf(), "L2": _L2(), "L1": _L1()}
"""Name -> norm, as the threat of a recipe names it."""
