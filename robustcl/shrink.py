"""The nearest point of a ball that lies within the range of valid values, in L2 and L1, exactly."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_Length = Callable[[Tensor], Tensor]
_Solve = Callable[[Tensor, Tensor, Tensor], Tensor]


def shrink(
    adv: Tensor, x: Tensor, eps: Tensor | float, range: tuple[float, float] | None, solve: _Solve, length: _Length
) -> Tensor:
    """Project onto ball and range at once, exactly: the move keeps its signs, ``solve`` finds its sizes."""
    move = (adv - x).flatten(1).double()
    radius = torch.as_tensor(eps, dtype=move.dtype, device=move.device).reshape(-1, 1)
    size = room = move.abs()
    if range is not None:
        base = x.flatten(1).double()
        room = torch.where(move > 0, range[1] - base, base - range[0]).clamp_(min=0.0).minimum(size)
    shorter = torch.where(length(room)[:, None] <= radius, room, solve(size, room, radius))
    shorter = shorter * (radius / positive(length(shorter)[:, None])).clamp_(max=1.0)
    nearest = x + (shorter * move.sign()).to(x.dtype).view_as(x)
    return nearest if range is None else nearest.clamp_(*range)


def scaled_to_length(size: Tensor, room: Tensor, eps: Tensor) -> Tensor:
    """Return min(scale * size, room), (R, d), with the scale in [0, 1] that gives L2 length ``eps``.

    These are the KKT conditions. An entry is full from the scale room / size on; between two such scales the
    squared length is a parabola.
    """
    fills, order = torch.where(size > 0.0, room / positive(size), 1.0).sort(1)
    full = torch.nn.functional.pad(room.square().gather(1, order).cumsum(1), (1, 0))
    free = torch.nn.functional.pad(size.square().gather(1, order).flip(1).cumsum(1).flip(1), (0, 1))
    reached = full[:, 1:] + fills.square() * free[:, 1:] <= eps.square()
    count = reached.sum(1, keepdim=True)
    left = (eps.square() - full.gather(1, count)).clamp_(min=0.0)
    return (left / positive(free.gather(1, count))).sqrt().clamp_(max=1.0).mul(size).minimum(room)


def thresholded_to_length(size: Tensor, room: Tensor, eps: Tensor) -> Tensor:
    """Return min(max(size - threshold, 0), room), (R, d), with the threshold that gives L1 length ``eps``.

    Duchi et al., Efficient projections onto the l1-ball, ICML 2008, with the box of Croce and Hein, Mind the
    box, ICML 2021 (Proposition 2.1): the length falls piecewise linearly in the threshold, steeper from
    ``size - room`` on and flatter again from ``size`` on.
    """
    corner, order = torch.cat([size - room, size], 1).sort(1)
    slope = torch.cat([torch.ones_like(size), -torch.ones_like(size)], 1).gather(1, order).cumsum(1)
    fall = torch.nn.functional.pad((slope[:, :-1] * corner.diff(dim=1)).cumsum(1), (1, 0))
    excess = room.sum(1, keepdim=True) - fall - eps
    last = ((excess >= 0.0).sum(1, keepdim=True) - 1).clamp_(min=0)
    threshold = corner.gather(1, last) + excess.gather(1, last) / slope.gather(1, last).clamp_(min=1.0)
    return (size - threshold).clamp_(min=0.0).minimum(room)


def positive(value: Tensor) -> Tensor:
    """Make a divisor safe; what it divides is zero wherever it was zero."""
    return value.clamp(min=torch.finfo(value.dtype).tiny)
