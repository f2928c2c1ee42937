"""The one number that a projection hangs on, by Newton's steps: the scale of a move in L2, the threshold in L1.

All of float64, (R, d) for entries and (R, 1) for what a row has once. ``size`` is how far an entry would move,
``room``, at most as much, how far the range lets it.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_ROUNDS = 1100  # more than it takes to halve any bracket of float64 numbers to nothing
_EPS = torch.finfo(torch.float64).eps
_UNIT = 4.0 * _EPS
_PIECE = 64
_WIDE = 256  # rows of fewer entries are not worth compacting


def scaled_to_length(size: Tensor, room: Tensor, eps: Tensor) -> Tensor:
    """Return min(scale * size, room) with the scale in [0, 1] that gives L2 length ``eps`` < |room|.

    Of numbers of any size, whose squares may be infinite or 0.
    """
    unit = positive(size.amax(1, keepdim=True))
    size, room, eps = size / unit, room / unit, eps / unit
    gauge = positive(room.amax(1, keepdim=True).minimum(eps))  # a room far below the move has squares of its own
    room, eps = (room / gauge).minimum(2.0 * eps / gauge), eps / gauge  # what has room for all of eps is never full
    nothing = torch.zeros_like(eps)
    return (_scale(size, room, eps, nothing, nothing) * size).minimum(room) * (unit * gauge)


class Known(NamedTuple):
    """The L2 length (R, 1) of what the range never cuts; row, size and room (N,) of the entries that it may cut."""

    free: Tensor
    row: Tensor
    size: Tensor
    room: Tensor


def known_entries(adv: Tensor, x: Tensor, range: tuple[float, float]) -> Known:
    """Tell entries (R, d) apart, of any precision: what does not leave the range in ``adv`` is never cut.

    Entries without any room, most of those of digits, belong to neither.
    """
    cut = adv.clamp(*range)
    out = torch.sub(adv, cut).sign_()
    move = cut.sub_(x)
    row, column = (out * move).bool().nonzero().unbind(1)
    base, size = x[row, column].double(), (adv[row, column] - x[row, column]).double()
    room = torch.where(size > 0.0, range[1] - base, base - range[0]).clamp_(min=0.0)
    return Known(length(torch.addcmul(move, move, out.abs_(), value=-1.0, out=move)), row, size.abs_(), room)


def scale_in_range(known: Sequence[Known], scale: Tensor, eps: Tensor, inside: Tensor) -> Tensor:
    """Return the scales at which what the range leaves of moves has L2 length ``eps``, from ``scale`` below.

    ``known`` holds the rows one block after the other. Rows that the range brings ``inside`` keep the scale 1.
    """
    starts = itertools.accumulate((len(each.free) for each in known), initial=0)
    row = torch.cat([each.row + start for each, start in zip(known, starts, strict=False)])
    free, size, room = (torch.cat(every) for every in zip(*((k.free, k.size, k.room) for k in known), strict=True))
    size, room = _padded(row, len(free), size, room)
    reach = (free.square() + room.square().sum(1, keepdim=True)).sqrt()
    return torch.where(reach > inside, _scale(size, room, eps, free, scale).clamp_(max=1.0), 1.0)


def _scale(size: Tensor, room: Tensor, eps: Tensor, free: Tensor, scale: Tensor) -> Tensor:
    """Return the scale with |min(scale * size, room)|^2 + (scale * free)^2 = eps^2, from a ``scale`` below.

    These are the KKT conditions. The squared length is concave in the square of the scale, so that Newton's steps
    come from below, fill ever more entries and end on the solution itself. The scale never falls: where rounding
    leaves nothing of the radius, what is full stays full, and the rest stays where it is.
    """
    area, speed, most, slope, before = room.square(), size.square(), eps.square(), free.square(), -1
    while True:
        full = ((size > 0.0) & (scale * size >= room)).double()
        count = int(full.sum())
        if count == before:
            return scale
        spare = (most - (area * full).sum(1, keepdim=True)).clamp_(min=0.0)
        rate = slope + (speed * (1.0 - full)).sum(1, keepdim=True)
        scale = torch.where(rate > 0.0, (spare / positive(rate)).sqrt(), scale).maximum(scale)
        before = count


def soft_threshold(size: Tensor, eps: Tensor) -> Tensor:
    """Return max(size - threshold, 0) with the threshold that gives L1 length ``eps`` < |size|.

    Duchi et al., Efficient projections onto the l1-ball, ICML 2008. The length is convex in the threshold: Newton's
    steps come from below and end on the solution itself, without sorting.
    """
    threshold = _free_threshold(size, eps)
    above = (size - threshold).clamp_(min=0.0)
    coarse = _coarse(threshold, size, eps)
    if len(coarse):
        above[coarse] = thresholded_to_length(size[coarse], size[coarse], eps[coarse])
    return _no_longer(above, eps)


def thresholded_to_length(size: Tensor, room: Tensor, eps: Tensor) -> Tensor:
    """Return min(max(size - threshold, 0), room) with the threshold that gives L1 length ``eps`` < |room|.

    With the box of Croce and Hein, Mind the box, ICML 2021 (Proposition 2.1): the length falls piecewise linearly in
    the threshold. Newton's steps, kept within a bracket, find the piece without sorting. Where the sizes are so large
    that a threshold of their own precision would miss the radius, the search goes on in what is left above it.
    """
    most = size.amax(1, keepdim=True)
    coarse = _coarse(most, size, eps)
    top = _free_threshold(size, eps) if len(coarse) == 0 else most
    threshold = _threshold(size, room, eps, torch.zeros_like(eps), top, top)
    above = size - threshold
    if len(coarse):
        some, spread = above[coarse], 64.0 * _EPS * size.shape[1] * threshold[coarse]
        low, high = -spread - eps[coarse], spread + eps[coarse]
        above[coarse] = some - _threshold(some, room[coarse], eps[coarse], low, high, low)
    return _no_longer(above.clamp_(min=0.0).minimum(room), eps)


def _no_longer(move: Tensor, eps: Tensor) -> Tensor:
    """Take away what a threshold of few digits has left beyond the radius."""
    return move.mul_((eps / positive(move.sum(1, keepdim=True))).clamp_(max=1.0))


def _free_threshold(size: Tensor, eps: Tensor) -> Tensor:
    """Return the threshold above which the sizes add up to ``eps``, where there is no range."""
    at = ((size.sum(1, keepdim=True) - eps) / size.shape[1]).maximum(size.amax(1, keepdim=True) - eps)
    size = _compact(size, at)[0]
    for _ in range(_ROUNDS):
        above = (size - at).clamp_(min=0.0)
        excess = above.sum(1, keepdim=True) - eps
        step = excess / above.sign_().sum(1, keepdim=True).clamp_(min=1.0)
        going = (excess > _UNIT * eps) & (at + step > at)
        if not bool(going.any()):
            break
        at = torch.where(going, at + step, at)
    return at


def _threshold(size: Tensor, room: Tensor, eps: Tensor, low: Tensor, high: Tensor, at: Tensor) -> Tensor:
    """Return the threshold between ``low`` and ``high`` at which the clipped sizes add up to ``eps``, from ``at``."""
    result, rows = low.clone(), torch.arange(len(size), device=size.device)
    size, room = _compact(size, low, room)
    full_until = size - room
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


def _compact(size: Tensor, least: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Leave out entries no larger than ``least``, which no larger threshold lets through, where those are most."""
    above = size > least
    if size.shape[1] < _WIDE or 4 * int(above.sum(1).max()) > size.shape[1]:
        return size, *others
    row, column = above.nonzero().unbind(1)
    return _padded(row, len(size), *(value[row, column] for value in (size, *others)))


def length(move: Tensor) -> Tensor:
    """Return the L2 length of each row (R, d), (R, 1) of float64.

    Of float32, at most ``_PIECE`` squares are added up before float64 goes on: nine digits for half the time.
    """
    width = 1 if move.dtype == torch.float64 or move.shape[1] < 16 * _PIECE else _piece(move.shape[1])
    if width > 1:
        move = torch.linalg.vector_norm(move.view(-1, width), dim=1).view(len(move), -1)
    found: Tensor = torch.linalg.vector_norm(move.double(), dim=1, keepdim=True)
    return found


@functools.cache
def _piece(entries: int) -> int:
    return next((width for width in range(_PIECE, 15, -1) if entries % width == 0), 1)


def positive(value: Tensor) -> Tensor:
    """Make a divisor safe; what it divides is zero wherever it was zero."""
    return value.clamp(min=torch.finfo(value.dtype).tiny)


def _coarse(threshold: Tensor, size: Tensor, eps: Tensor) -> Tensor:
    """The rows whose threshold is known less well than the radius."""
    return (threshold * _EPS * size.shape[1] > 1e-9 * eps)[:, 0].nonzero()[:, 0]


def _padded(row: Tensor, rows: int, *values: Tensor) -> tuple[Tensor, ...]:
    """Lay values (N,), which belong to ascending rows (N,), out as (R, width), with zeros behind."""
    count = torch.bincount(row, minlength=rows)
    place = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
    shape = (rows, int(count.max()))
    return tuple(value.new_zeros(shape).index_put_((row, place), value) for value in values)
