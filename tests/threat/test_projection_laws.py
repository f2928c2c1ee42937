"""What holds of every projection, on a million random rows of every kind, in L2 and L1, in float32 and float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from robustcl.threat import Ball

ROWS, ITEM = 125_000, 4
NORMS, TYPES, RANGES = ("L2", "L1"), (torch.float32, torch.float64), (None, (0.0, 1.0))


def _cases(dtype: torch.dtype, rows: int, seed: int, bounded: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return x, adv (R, d) and eps (R,): ordinary, exactly on the border, huge, tiny and denormal moves, corners."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.rand((rows, ITEM), generator=draw, dtype=dtype)
    corner = torch.rand((rows, ITEM), generator=draw) < 0.15
    x = torch.where(corner, x.round(), x)
    move = torch.randn((rows, ITEM), generator=draw, dtype=dtype)
    power = torch.tensor([-1.0, -1.0, 0.0, 0.0, 1.0, 12.0, 30.0, -20.0], dtype=dtype)
    move = move * 10.0 ** power[torch.randint(8, (rows, 1), generator=draw)]
    alike = torch.rand((rows, 1), generator=draw) < 0.1
    move = torch.where(alike, move[:, :1].abs() * move.sign(), move)
    some = torch.rand((rows, 1), generator=draw) < 0.05
    least = torch.finfo(dtype).tiny / 8
    x, move = torch.where(some, 0.0, x), torch.where(some, least * move.sign(), move)
    move = torch.where(torch.rand((rows, ITEM), generator=draw) < 0.2, 0.0, move)
    eps = torch.rand((rows,), generator=draw, dtype=dtype) * 0.9 + 0.02
    return x, x + move, eps


def _length(delta: Tensor, norm: str) -> Tensor:
    wide = delta.double()
    largest = wide.abs().amax(1).clamp(min=1e-300)
    return torch.linalg.vector_norm(wide / largest[:, None], ord={"L2": 2, "L1": 1}[norm], dim=1) * largest


@pytest.mark.parametrize("bounds", RANGES)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("norm", NORMS)
def test_laws_of_a_projection(norm: str, dtype: torch.dtype, bounds: tuple[float, float] | None) -> None:
    x, adv, eps = _cases(dtype, ROWS, 7 + len(norm) + (bounds is None), bounds is not None)
    half = ROWS // 2
    # Half of the rows have a radius of their own; of these, every fourth lies exactly on the border.
    border = _length(adv - x, norm).to(dtype)
    own = torch.where((torch.arange(ROWS) % 4 == 0) & (border > 1e-3) & (border < 10), border, eps)
    for ball, part in ((Ball(norm, 0.1, bounds), slice(half)), (Ball(norm, own[half:], bounds), slice(half, None))):
        _hold(ball, adv[part], x[part])


def _hold(ball: Ball, adv: Tensor, x: Tensor) -> None:
    unit = torch.finfo(x.dtype).eps
    found = ball.project(adv, x)
    radius = torch.as_tensor(ball.eps).double()
    slack = radius * 4 * unit + 2 * unit * ITEM * torch.maximum(found, x).double().abs().amax(1)
    assert bool((_length(found - x, ball.norm) <= radius + slack).all()), "outside the ball"
    moved = (adv != x).any(1)
    if ball.range is not None:
        assert bool(((found >= ball.range[0]) & (found <= ball.range[1])).all()), "outside the range"
        # A move that only leaves the range ends where it began.
        moved = (adv.clamp(*ball.range) != x).any(1)
        floor = (adv.clamp(*ball.range) - x).double().abs().amax(1)
        moved &= floor > 1e-9
    assert not bool((moved & (found == x).all(1)).any()), "a move has become none"
    again = ball.project(found, x)
    # One unit of the row's largest number or radius: by so much the length of a rounded move may be off.
    largest = torch.maximum(found.abs(), x.abs()).amax(1).maximum(radius.expand(len(x)).to(x.dtype))
    assert bool(((again - found).abs() <= largest[:, None] * unit).all()), "not idempotent"
    inside = _length(adv - x, ball.norm) <= radius * (1 - 1e-6)
    if ball.range is not None:
        inside &= ((adv >= ball.range[0]) & (adv <= ball.range[1])).all(1)
    assert bool(((found - adv).abs() <= unit * torch.maximum(adv.abs(), x.abs()) + 1e-300)[inside].all()), "moved"


@pytest.mark.parametrize("bounds", RANGES)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("norm", NORMS)
def test_the_nearest_point(norm: str, dtype: torch.dtype, bounds: tuple[float, float] | None) -> None:
    """Against a bisection on the multiplier of the length, which is another road to the same point."""
    x, adv, eps = _cases(dtype, 4000, 3, bounds is not None)
    ordinary = ((adv - x).abs().amax(1) < 100) & ((adv - x).abs().amax(1) > 1e-6)
    x, adv, eps = x[ordinary], adv[ordinary], eps[ordinary]
    found = Ball(norm, eps, bounds).project(adv, x).double()
    expected = _bisect(adv.double(), x.double(), eps.double(), norm, bounds)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 if dtype == torch.float32 else 1e-10)


def _bisect(adv: Tensor, x: Tensor, eps: Tensor, norm: str, bounds: tuple[float, float] | None) -> Tensor:
    low_end, high_end = bounds or (-math.inf, math.inf)

    def point(multiplier: Tensor) -> Tensor:
        move = adv - x
        if norm == "L2":
            move = move / (1.0 + multiplier)[:, None]
        else:
            move = move.sign() * (move.abs() - multiplier[:, None]).clamp(min=0.0)
        return (x + move).clamp(low_end, high_end)

    def longer(multiplier: Tensor) -> Tensor:
        return _length(point(multiplier) - x, norm) > eps

    low, high = torch.zeros_like(eps), torch.full_like(eps, 1e6)
    for _ in range(120):
        middle = (low + high) / 2
        over = longer(middle)
        low, high = torch.where(over, middle, low), torch.where(over, high, middle)
    return torch.where(longer(torch.zeros_like(eps))[:, None], point(high), point(torch.zeros_like(eps)))


def test_a_move_one_unit_too_long_is_not_lost() -> None:
    x = torch.tensor([[0.39186977261803263, 0.59186660256346]], dtype=torch.float64)
    adv = torch.tensor([[0.30494692426521613, 0.6413076627688528]], dtype=torch.float64)
    found = Ball("L2", 0.1).project(adv, x)
    torch.testing.assert_close(found, adv, rtol=0, atol=1e-15)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("bounds", RANGES)
def test_moves_that_no_square_and_no_threshold_can_hold(norm: str, bounds: tuple[float, float] | None) -> None:
    x = torch.full((3, 2), 0.5, dtype=torch.float64)
    adv = x + torch.tensor([[1e300, 0.0], [0.0, -1e300], [1e-300, 0.0]], dtype=torch.float64)
    expected = x + torch.tensor([[0.1, 0.0], [0.0, -0.1], [0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(Ball(norm, 0.1, bounds).project(adv, x), expected)


@pytest.mark.parametrize("make", [lambda x: x[:0], lambda x: x[:, :0]])
@pytest.mark.parametrize("norm", NORMS)
def test_nothing_is_projected_to_nothing(norm: str, make: Callable[[Tensor], Tensor]) -> None:
    x = make(torch.rand(3, 4))
    assert Ball(norm, 0.1).project(x, x).shape == x.shape
