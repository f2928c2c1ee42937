"""The shortest move onto a hyperplane that stays within the range of valid values, in each norm, exactly.

Croce and Hein, Minimally distorted adversarial examples with a fast adaptive boundary attack, ICML 2020, section 2.2.
Every entry moves to the side that brings the linear function toward zero, and no further than the range allows.
How far it moves is the norm's: all alike (Linf), in proportion to the normal (L2), the largest entries of the normal
first (L1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from robustcl.threat import Range


def shortest_move(points: Tensor, normal: Tensor, value: Tensor, norm: str, range: Range) -> Tensor:
    """Return the shortest moves d (R, *item): normal . d = -value, and ``points + d`` within the range.

    Where the hyperplane does not meet the range, the move goes to the point of the range that is nearest to it in
    value: every entry to its end. A row whose normal is zero stays.

    Args:
        points: (R, *item), within the range.
        normal: (R, *item), finite: the gradient of the linear function.
        value: (R,), finite: the linear function at each point.
        norm: "Linf", "L2" or "L1".
        range: lowest and highest value, or ``None`` where every value is valid.
    """
    slope, distance = normal.flatten(1).double(), value.double().abs()[:, None]
    toward = -slope.sign() * value.double().sign()[:, None]
    room = torch.full_like(slope, math.inf)
    if range is not None:
        at = points.flatten(1).double()
        room = torch.where(toward > 0, range[1] - at, at - range[0]).clamp_(min=0.0)
    size = _SIZES[norm](slope.abs(), room, distance)
    return (toward * size).to(points.dtype).view_as(points)


def _alike(weight: Tensor, room: Tensor, distance: Tensor) -> Tensor:
    return _scaled((weight > 0.0).to(weight.dtype), weight, room, distance)


def _in_proportion(weight: Tensor, room: Tensor, distance: Tensor) -> Tensor:
    return _scaled(weight, weight, room, distance)


def _scaled(rate: Tensor, weight: Tensor, room: Tensor, distance: Tensor) -> Tensor:
    """Return min(scale * rate, room), (R, d), with the least scale for which the weighted sum is ``distance``.

    The sum is concave in the scale, so that Newton's steps approach from below, fill ever more entries and end on
    the solution itself, after a few steps.
    """
    free, capacity, full = weight * rate, weight * room, torch.zeros_like(weight, dtype=torch.bool)
    while True:
        left = distance - torch.where(full, capacity, 0.0).sum(1, keepdim=True)
        slope = torch.where(full, 0.0, free).sum(1, keepdim=True)
        scale = torch.where(slope > 0.0, left.clamp(min=0.0) / slope, 0.0)
        more = full | ((rate > 0.0) & (scale * rate >= room))
        if torch.equal(more, full):
            return torch.where(full, room, scale * rate)
        full = more


def _largest_first(weight: Tensor, room: Tensor, distance: Tensor) -> Tensor:
    """Fill the entries in the order of their weights until the weighted sum is ``distance``."""
    weight, order = weight.sort(1, descending=True)
    room = room.gather(1, order)
    gain = torch.where(weight > 0.0, weight * room, 0.0)
    before = torch.nn.functional.pad(gain.cumsum(1)[:, :-1], (1, 0))
    wanted = torch.where(weight > 0.0, (distance - before) / weight, 0.0)
    return torch.zeros_like(weight).scatter_(1, order, wanted.clamp_(min=0.0).minimum(room))


_SIZES: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = MappingProxyType(
    {"Linf": _alike, "L2": _in_proportion, "L1": _largest_first}
)
"""How far each entry moves, (R, d), given |normal|, the room it has and |value| (R, 1)."""
