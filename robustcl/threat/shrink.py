"""The nearest point of a ball that lies within the range of valid values, in L2 and L1, exactly.

Every row hangs on one number, the scale of its move in L2 and the threshold of its entries in L1. Where the range
stands in nobody's way it has a closed form in L2 and follows from a few sums in L1; the other rows go to Newton's
steps. What a row has once is of float64 throughout; its points are rounded once.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from robustcl.threat import newton
from robustcl.threat.newton import positive

Range = tuple[float, float] | None
_LEAST, _MOST = 1e-140, 1e140  # other lengths are measured after scaling: their squares are 0 or infinite
_FAR = 1e60  # an infinite entry lies so many times farther away than any other; squares of both are numbers


def shrink_l2(adv: Tensor, x: Tensor, eps: Tensor | float, range: Range) -> Tensor:
    """Project rows (R, *item) onto the L2 ball of ``eps`` around x and the range at once; the result has no graph."""
    return _in_lines(_l2, adv, x, eps, range)


def shrink_l1(adv: Tensor, x: Tensor, eps: Tensor | float, range: Range) -> Tensor:
    """Project rows (R, *item) onto the L1 ball of ``eps`` around x and the range at once; the result has no graph."""
    return _in_lines(_l1, adv, x, eps, range)


class _Rows(NamedTuple):
    """adv and x (R, d), the radius of each, and the length up to which a row counts as inside, (R, 1) of float64."""

    adv: Tensor
    x: Tensor
    radius: Tensor
    inside: Tensor

    def of(self, rows: Tensor) -> _Rows:
        return _Rows(*(_of(each, rows) for each in self))


@torch.no_grad()
def _in_lines(
    project: Callable[[_Rows, Range], Tensor], adv: Tensor, x: Tensor, eps: Tensor | float, range: Range
) -> Tensor:
    """Call ``project`` with rows of numbers (R, d), read in the order in which they lie in memory."""
    if x.numel() == 0:
        return x.clone()
    if x.dtype not in (torch.float32, torch.float64):
        near = _in_lines(project, adv.float(), x.float(), eps, range).to(x.dtype)
        return near if range is None else near.clamp_(*range)
    last = x.dim() == 4 and all(each.is_contiguous(memory_format=torch.channels_last) for each in (adv, x))
    if last:  # once: a row of one pixel, or of one line, lies channels last however its axes are turned
        adv, x = adv.permute(0, 2, 3, 1), x.permute(0, 2, 3, 1)
    radius = torch.as_tensor(eps, dtype=torch.float64, device=x.device).reshape(-1, 1).expand(len(x), 1)
    lines = x.flatten(1)
    inside = radius + _rounding(lines, radius, 0.5 if project is _l2 else 1.0)
    nearest = project(_Rows(adv.flatten(1), lines, radius, inside), range).view(x.shape)
    return nearest.permute(0, 3, 1, 2) if last else nearest


def _l2(all_rows: _Rows, range: Range) -> Tensor:
    adv, x, radius, inside = all_rows
    move = adv - x
    far = newton.length(move)
    scale = torch.where(far > inside, radius / positive(far), 1.0)
    nearest = torch.addcmul(x, move, scale.to(x.dtype), out=move)
    least = 1e3 * torch.finfo(x.dtype).tiny  # smaller scales have lost digits
    strange = (far > _MOST) | ((far < _LEAST) & (far > 0.0)) | ((scale < least) & (scale > 0.0))
    rows = (_beyond(nearest, range) & ~strange[:, 0]).nonzero()[:, 0]
    if range is not None and len(rows):
        _cut(nearest, all_rows, scale, range, rows)
    rows = strange[:, 0].nonzero()[:, 0]
    if len(rows):
        nearest = _put(nearest, rows, _entrywise(all_rows.of(rows), range, newton.scaled_to_length, _root))
    return nearest


def _cut(nearest: Tensor, all_rows: _Rows, scale: Tensor, range: tuple[float, float], rows: Tensor) -> None:
    """Replace those rows of the closed form that leave the range."""
    adv, x, radius, inside = all_rows
    once = _once(x, 1 << 18)
    blocks: Sequence[slice | Tensor] = _blocks(len(x), once) if len(rows) == len(x) else torch.split(rows, once)
    known = [newton.known_entries(adv[part], x[part], range) for part in blocks]
    scale = newton.scale_in_range(known, scale[rows], radius[rows], inside[rows]).to(x.dtype)
    for part, own in zip(blocks, torch.split(scale, once), strict=True):
        base, move = x[part], adv[part] - x[part]
        nearest[part] = torch.addcmul(base, move, own, out=move).clamp_(*range)


def _l1(all_rows: _Rows, range: Range) -> Tensor:
    nearest = torch.empty_like(all_rows.x)
    for rows in _blocks(len(nearest), _once(nearest, 1 << 16)):
        nearest[rows] = _l1_block(_Rows(*(each[rows] for each in all_rows)), range)
    return nearest


def _l1_block(all_rows: _Rows, range: Range) -> Tensor:
    adv, x, radius, inside = all_rows
    move = (adv - x).double()
    size = move.abs()
    far = _sum(size)
    strange = far > _MOST
    rows = ((far > inside) & ~strange)[:, 0].nonzero()[:, 0]
    if len(rows):
        size = _put(size, rows, newton.soft_threshold(_of(size, rows), radius[rows]))
    nearest = x + torch.copysign(size, move).to(x.dtype)
    rows = (_beyond(nearest, range) | strange[:, 0]).nonzero()[:, 0]
    if len(rows):
        nearest = _put(nearest, rows, _entrywise(all_rows.of(rows), range, newton.thresholded_to_length, _sum))
    return nearest


def _entrywise(
    some: _Rows,
    range: Range,
    solve: Callable[[Tensor, Tensor, Tensor], Tensor],
    measure: Callable[[Tensor], Tensor],
) -> Tensor:
    """Moves keep their signs, ``solve`` finds the sizes of those rows that the range alone does not cut enough."""
    adv, x, radius, inside = some
    move = (adv - x).double()
    endless = move.isinf()
    farthest = torch.where(endless, 0.0, move).abs().amax(1, keepdim=True).clamp_(min=1.0).mul_(_FAR)
    move = torch.where(endless, move.sign() * farthest.clamp_(max=1e300), move)
    size = room = move.abs()
    if range is not None:
        base = x.double()
        room = move.clamp((range[0] - base).clamp_(max=0.0), (range[1] - base).clamp_(min=0.0)).abs_()
    rows = (measure(room) > inside)[:, 0].nonzero()[:, 0]
    if len(rows):
        room = _put(room, rows, solve(_of(size, rows), _of(room, rows), radius[rows]))
    nearest = x + torch.copysign(room, move).to(x.dtype)
    return nearest if range is None else nearest.clamp_(*range)


def _rounding(x: Tensor, radius: Tensor, power: float) -> Tensor:
    """By how much a point of the sphere may seem to lie outside of it, since its entries are rounded: float64 only.

    Lengths of lower precision are known better than their points, and a point is as near as it can be.
    """
    if x.dtype != torch.float64:
        return torch.zeros_like(radius)
    largest = x.abs().amax(1, keepdim=True) + radius
    share: float = x.shape[1] ** power / 2.0
    return torch.finfo(x.dtype).eps * (share * largest + 4.0 * radius)


def _beyond(nearest: Tensor, range: Range) -> Tensor:
    """Which rows leave the range, (R,) bool; a row with NaN does not."""
    if range is None:
        return torch.zeros(len(nearest), dtype=torch.bool, device=nearest.device)
    return (nearest.amin(1) < range[0]) | (nearest.amax(1) > range[1])


def _blocks(rows: int, once: int) -> list[slice]:
    return [slice(at, at + once) for at in builtins.range(0, rows, once)]


def _once(x: Tensor, entries: int) -> int:
    """How many rows have so many entries for each thread, so that what is made of them is read from the cache."""
    return max(entries * torch.get_num_threads() // x.shape[1], 1) if x.device.type == "cpu" else len(x)


def _of(value: Tensor, rows: Tensor) -> Tensor:
    """Return some rows, ascending: all of them without a copy."""
    return value if len(rows) == len(value) else value[rows]


def _put(value: Tensor, rows: Tensor, some: Tensor) -> Tensor:
    return some if len(rows) == len(value) else value.index_copy_(0, rows, some)


def _root(size: Tensor) -> Tensor:
    largest = positive(size.amax(1, keepdim=True))
    return newton.length(size / largest) * largest


def _sum(size: Tensor) -> Tensor:
    return size.sum(1, keepdim=True)
