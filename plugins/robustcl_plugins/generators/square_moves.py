"""How the Square Attack starts and what it proposes, one class per norm.

All inputs are (R, C, T, H * W), see ``Canvas.view``; ``numbers`` are uniform in [0, 1), own ones in each row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor

from robustcl.threat import Ball, Range
from robustcl_plugins.generators.square_windows import Canvas, Window, bumps, put, take


class Moves(Protocol):
    """What the search asks of a norm."""

    def start_numbers(self, canvas: Canvas) -> tuple[int, ...]:
        """Return the shape of the numbers that a row's start takes."""

    def move_numbers(self, canvas: Canvas) -> int:
        """Return how many numbers a row's proposal takes."""

    def start(self, x: Tensor, ball: Ball, canvas: Canvas, numbers: Tensor) -> Tensor:
        """Return the first candidates."""

    def propose(self, x: Tensor, best: Tensor, ball: Ball, canvas: Canvas, share: float, numbers: Tensor) -> Tensor:
        """Return candidates that differ from the best ones in windows of the plane's ``share`` p."""


class Stripes:
    """Linf: from vertical stripes on, a square with one colour, x + eps or x - eps, for each channel (Algorithm 2)."""

    def start_numbers(self, canvas: Canvas) -> tuple[int, ...]:
        return canvas.channels, canvas.width

    def move_numbers(self, canvas: Canvas) -> int:
        return 2 + canvas.channels

    def start(self, x: Tensor, ball: Ball, canvas: Canvas, numbers: Tensor) -> Tensor:
        return _within(x + _column(ball, x) * _signs(numbers, x)[:, :, None].repeat(1, 1, 1, canvas.height), ball.range)

    def propose(self, x: Tensor, best: Tensor, ball: Ball, canvas: Canvas, share: float, numbers: Tensor) -> Tensor:
        cells = Window.placed(canvas, canvas.window(share), numbers[:, :2]).cells()
        colour = _column(ball, x) * _signs(numbers[:, 2:], x)[:, :, None, None]
        return put(best, cells, _within(take(x, cells) + colour, ball.range))


@dataclass(frozen=True, slots=True)
class Bumps:
    """L2 and L1: from tiles of bumps on, a window gets a new bump and what a second window gives up (Algorithm 3).

    ``order`` is 2 or 1. In L2 the range cuts the result. In L1 the window gets C times what is there, and the
    whole perturbation is projected onto ball and range, which makes it sparse.
    """

    order: int

    def start_numbers(self, canvas: Canvas) -> tuple[int, ...]:
        side = _tile(canvas)
        return canvas.channels + 1, canvas.height // side, canvas.width // side

    def move_numbers(self, canvas: Canvas) -> int:
        return 5 + canvas.channels

    def start(self, x: Tensor, ball: Ball, canvas: Canvas, numbers: Tensor) -> Tensor:
        side, (down, across) = _tile(canvas), numbers.shape[2:]
        pair = bumps((side, side), self.order, x.dtype, x.device)
        turned = (numbers[:, -1] >= 0.5).long()
        tiles = pair[turned][:, None] * _signs(numbers[:, :-1], x)[..., None, None]
        picture = tiles.transpose(3, 4).reshape(len(x), canvas.channels, 1, down * side, across * side)
        above, before = (canvas.height - down * side) // 2, (canvas.width - across * side) // 2
        delta = x.new_zeros(len(x), canvas.channels, canvas.frames, canvas.height, canvas.width)
        delta[..., above : above + down * side, before : before + across * side] = picture
        return self._finished(x, self._long_enough(delta.flatten(3), ball, canvas), ball)

    def propose(self, x: Tensor, best: Tensor, ball: Ball, canvas: Canvas, share: float, numbers: Tensor) -> Tensor:
        size = canvas.window(share, smallest=3, odd=True)
        first, second = Window.placed(canvas, size, numbers), Window.placed(canvas, size, numbers[:, 2:])
        delta, cells, others = best - x, first.cells(), second.cells()
        old = take(delta, cells)
        spent = self._mass(old, (2, 3))
        both = spent + self._mass(take(delta, others).masked_fill(first.covers(second), 0.0), (2, 3))
        unspent = (_column(ball, x) ** self.order - self._mass(delta, (1, 2, 3))).clamp_(min=0.0)
        pair = bumps(size, self.order, x.dtype, x.device).flatten(1)
        bump = pair[(numbers[:, 4] >= 0.5).long()][:, None, None] / canvas.frames ** (1 / self.order)
        new = _signs(numbers[:, 5:], x)[:, :, None, None] * bump + old / self._root(spent)
        room = both + unspent / canvas.channels
        room = room * canvas.channels if self.order == 1 else room
        new = new * (room ** (1 / self.order) / self._root(self._mass(new, (2, 3))))
        if self.order == 1:
            return self._finished(x, put(put(delta, others, torch.zeros_like(new)), cells, new), ball)
        return put(put(best, others, take(x, others)), cells, _within(take(x, cells) + new, ball.range))

    def _long_enough(self, delta: Tensor, ball: Ball, canvas: Canvas) -> Tensor:
        """L2: exactly eps. L1: at least eps for each channel, of which the projection leaves eps."""
        length = self._root(self._mass(delta, (1, 2, 3)))
        scale = _column(ball, delta) / length
        return delta * (scale if self.order == 2 else (scale * canvas.channels).clamp(min=1.0))

    def _finished(self, x: Tensor, delta: Tensor, ball: Ball) -> Tensor:
        return _within(x + delta, ball.range) if self.order == 2 else sparsely_projected(delta, x, ball)

    def _mass(self, delta: Tensor, axes: tuple[int, ...]) -> Tensor:
        return (delta.abs() if self.order == 1 else delta.square()).sum(axes, keepdim=True)

    def _root(self, mass: Tensor) -> Tensor:
        return (mass ** (1 / self.order)).clamp(min=torch.finfo(mass.dtype).tiny)


MOVES: Mapping[str, Moves] = MappingProxyType({"Linf": Stripes(), "L2": Bumps(2), "L1": Bumps(1)})
"""The norms that the attack knows."""


def sparsely_projected(delta: Tensor, x: Tensor, ball: Ball) -> Tensor:
    """Return the point nearest to x + delta (R, C, T, H * W) in ball and range.

    In L1 few pixels are perturbed: ``Ball.project`` sorts them alone. All pixels would cost more than a small model.
    """
    row, cell = delta.flatten(1).nonzero(as_tuple=True)
    count = torch.bincount(row, minlength=len(x))
    place = torch.arange(len(row), device=x.device) - (count.cumsum(0) - count)[row]
    base = x.new_zeros(len(x), max(int(count.max()), 1), dtype=torch.float64)
    moved = base.clone()
    base[row, place] = x.flatten(1)[row, cell].double()
    moved[row, place] = delta.flatten(1)[row, cell].double()
    nearest = x.flatten(1).clone()
    nearest[row, cell] = ball.project(base + moved, base)[row, place].to(x.dtype)
    return nearest.view(x.shape)


def _tile(canvas: Canvas) -> int:
    """Return the side of the first tiles: a fifth of the shorter side."""
    return max(min(canvas.height, canvas.width) // 5, 1)


def _signs(numbers: Tensor, like: Tensor) -> Tensor:
    return torch.where(numbers < 0.5, -1.0, 1.0).to(like.dtype)


def _column(ball: Ball, x: Tensor) -> Tensor:
    return torch.as_tensor(ball.eps, dtype=x.dtype, device=x.device).reshape(-1, 1, 1, 1)


def _within(x: Tensor, range: Range) -> Tensor:
    return x if range is None else x.clamp_(*range)
