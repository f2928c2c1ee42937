"""The nearest point of a ball that lies within the range of valid values, in L2 and L1, exactly.

A row that is inside already, or whose range stands in nobody's way, has a closed form in L2. The others are solved by
Newton's steps on the one number that they hang on, the scale in L2 and the threshold in L1, in float64 throughout.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_Length = Callable[[Tensor], Tensor]
_Solve = Callable[[Tensor, Tensor, Tensor], Tensor]
_ROUNDS = 1100  # more than it takes to halve any bracket of float64 numbers to nothing
_UNIT = 4.0 * torch.finfo(torch.float64).eps
_LEAST = 1e-140  # shorter moves are measured after scaling: their squares have no digits left


def shrink_l2(adv: Tensor, x: Tensor, eps: Tensor | float, range: tuple[float, float] | None) -> Tensor:
    """Project rows (R, *item) onto the L2 ball of ``eps`` around x and the range at once."""
    move, radius = (adv - x).flatten(1), _radius(eps, x)
    length = torch.linalg.vector_norm(move, dim=1, dtype=torch.float64, keepdim=True)
    sound = length.isfinite() & ((length > _LEAST) | (length == 0.0))
    nearest = x + (move * (radius / positive(length)).clamp_(max=1.0)).to(x.dtype).view_as(x)
    wrong = ~sound[:, 0]
    if range is not None and nearest.numel():
        low, high = nearest.aminmax()
        if not (low >= range[0] and high <= range[1]):
            wrong = wrong | ((nearest < range[0]) | (nearest > range[1])).flatten(1).any(1)
    if not bool(wrong.any()):
        return nearest
    rows = wrong.nonzero()[:, 0]
    nearest[rows] = _exact(move[rows], x[rows], radius[rows], range, scaled_to_length, _root_of_squares)
    return nearest


def shrink_l1(adv: Tensor, x: Tensor, eps: Tensor | float, range: tuple[float, float] | None) -> Tensor:
    """Project rows (R, *item) onto the L1 ball of ``eps`` around x and the range at once."""
    return _exact((adv - x).flatten(1), x, _radius(eps, x), range, thresholded_to_length, _sum)


def _exact(
    move: Tensor, x: Tensor, radius: Tensor, range: tuple[float, float] | None, solve: _Solve, length: _Length
) -> Tensor:
    """The move keeps its signs, ``solve`` finds the sizes of those rows that the range alone does not cut enough."""
    size = room = move.double().abs()
    if range is not None:
        base = x.flatten(1).double()
        room = torch.where(move > 0, range[1] - base, base - range[0]).clamp_(min=0.0).minimum(size)
    shorter = room
    rows = (length(room) > radius)[:, 0].nonzero()[:, 0]
    if len(rows):
        found = solve(size[rows], room[rows], radius[rows])
        found = found * (radius[rows] / positive(length(found))).clamp_(max=1.0)
        shorter = room.index_copy(0, rows, found) if len(rows) < len(room) else found
    nearest = x + torch.copysign(shorter, move.double()).to(x.dtype).view_as(x)
    return nearest if range is None else nearest.clamp_(*range)


def scaled_to_length(size: Tensor, room: Tensor, eps: Tensor) -> Tensor:
    """Return min(scale * size, room), (R, d), with the scale in [0, 1] that gives L2 length ``eps`` (R, 1) < |room|.

    These are the KKT conditions. The squared length is concave in the square of the scale, so that Newton's steps
    come from below, fill ever more entries and end on the solution itself. The scale never falls: where rounding
    leaves nothing of the radius, what is full stays full.
    """
    unit = positive(size.amax(1, keepdim=True))  # squares of huge and tiny numbers would be infinite or 0
    size, room, eps = size / unit, room / unit, eps / unit
    gauge = positive(room.amax(1, keepdim=True).minimum(eps))  # ... and so would those of a room far below the move
    room, eps = room / gauge, eps / gauge
    scale, full = torch.zeros_like(eps), torch.zeros_like(size, dtype=torch.bool)
    while True:
        left = (eps.square() - torch.where(full, room, 0.0).square().sum(1, keepdim=True)).clamp_(min=0.0)
        free = torch.where(full, 0.0, size).square().sum(1, keepdim=True)
        scale = torch.where(free > 0.0, (left / positive(free)).sqrt(), scale).maximum(scale)
        more = full | ((size > 0.0) & (scale * size >= room))
        if torch.equal(more, full):
            return torch.where(full, room, scale * size) * (unit * gauge)
        full = more


def thresholded_to_length(size: Tensor, room: Tensor, eps: Tensor) -> Tensor:
    """Return min(max(size - threshold, 0), room), (R, d), with the threshold that gives L1 length ``eps`` (R, 1).

    Duchi et al., Efficient projections onto the l1-ball, ICML 2008, with the box of Croce and Hein, Mind the
    box, ICML 2021 (Proposition 2.1): the length falls piecewise linearly in the threshold. Newton's steps, kept
    within a bracket, find the piece without sorting. Where the sizes are so large that a threshold of their own
    precision would miss the radius, the search goes on in what is left above it.
    """
    threshold = _threshold(size, room, eps, torch.zeros_like(eps), size.amax(1, keepdim=True))
    coarse = (threshold * torch.finfo(size.dtype).eps * size.shape[1] > 1e-9 * eps)[:, 0].nonzero()[:, 0]
    above = size - threshold
    if len(coarse):
        some, spread = above[coarse], 64.0 * torch.finfo(size.dtype).eps * size.shape[1] * threshold[coarse]
        above[coarse] = some - _threshold(some, room[coarse], eps[coarse], -spread - eps[coarse], spread + eps[coarse])
    return above.clamp_(min=0.0).minimum(room)


def _threshold(size: Tensor, room: Tensor, eps: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return the threshold (R, 1) between ``low`` and ``high`` at which the clipped sizes add up to ``eps``."""
    result, rows = low.clone(), torch.arange(len(size), device=size.device)
    at, full_until = low, size - room
    for _ in range(_ROUNDS):
        excess = (size - at).clamp_(min=0.0).minimum(room).sum(1, keepdim=True) - eps
        slope = ((size > at) & (full_until <= at)).sum(1, keepdim=True)
        low, high = torch.where(excess >= 0.0, at, low), torch.where(excess <= 0.0, at, high)
        step = excess / slope.clamp(min=1)
        settled = (excess.abs() <= _UNIT * eps) | ((slope > 0) & (step.abs() <= _UNIT * at.abs()))
        guess = at + step
        middle = low + (high - low) / 2
        newton = (slope > 0) & (guess > low) & (guess < high)
        guess = torch.where(settled, at, torch.where(newton, guess, middle))
        result[rows] = guess
        going = ~(settled | ((guess <= low) | (guess >= high)))[:, 0]
        keep = going.nonzero()[:, 0]
        if len(keep) == 0:
            break
        if 2 * len(keep) <= len(rows):
            rows, size, room, eps, full_until = rows[keep], size[keep], room[keep], eps[keep], full_until[keep]
            low, high, guess = low[keep], high[keep], guess[keep]
        at = guess
    return result


def positive(value: Tensor) -> Tensor:
    """Make a divisor safe; what it divides is zero wherever it was zero."""
    return value.clamp(min=torch.finfo(value.dtype).tiny)


def _radius(eps: Tensor | float, x: Tensor) -> Tensor:
    return torch.as_tensor(eps, dtype=torch.float64, device=x.device).reshape(-1, 1).expand(len(x), 1)


def _root_of_squares(size: Tensor) -> Tensor:
    largest = positive(size.amax(1, keepdim=True))
    length: Tensor = torch.linalg.vector_norm(size / largest, dim=1, keepdim=True) * largest
    return length


def _sum(size: Tensor) -> Tensor:
    return size.sum(1, keepdim=True)
