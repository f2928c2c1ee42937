"""The ball against brute force, closed forms and its own laws, for every norm."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor

from robustcl.errors import UsageError
from robustcl.rng import Rng
from robustcl.threat import Ball, parse_norm

NORMS = ("Linf", "L2", "L1")
ORDER = {"Linf": math.inf, "L2": 2.0, "L1": 1.0}
RADIUS = {"Linf": 0.1, "L2": 0.5, "L1": 1.5}


def images(seed: int, rows: int = 4, item: tuple[int, ...] = (2, 3, 2), dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand((rows, *item), generator=torch.Generator().manual_seed(seed), dtype=dtype)


def noise(seed: int, like: Tensor, scale: float = 1.0) -> Tensor:
    drawn = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed + 10_000), dtype=like.dtype)
    return drawn * scale


def length(delta: Tensor, norm: str) -> list[float]:
    """The norm of each row by a naked loop."""
    out = []
    for row in delta.flatten(1).tolist():
        sizes = [abs(value) for value in row]
        out.append({"Linf": max(sizes), "L2": math.sqrt(sum(s * s for s in sizes)), "L1": sum(sizes)}[norm])
    return out


@settings(max_examples=40, deadline=None)
@given(
    norm=st.sampled_from(NORMS),
    seed=st.integers(0, 1000),
    scale=st.sampled_from([0.0, 0.01, 1.0, 100.0]),
    bounds=st.sampled_from([None, (0.0, 1.0), (-2.0, 3.0)]),
    item=st.sampled_from([(1,), (7,), (2, 3, 2), (1, 2, 2, 2)]),
    eps=st.sampled_from([0.0, 1e-6, 8 / 255, 0.5, 20.0]),
)
def test_projection_is_inside_and_idempotent(norm, seed, scale, bounds, item, eps):
    x = images(seed, item=item)
    ball = Ball(norm, eps, bounds)
    adv = ball.project(x + noise(seed, x, scale), x)
    assert all(d <= eps * (1 + 1e-6) + 5e-6 for d in length(adv.double() - x.double(), norm))
    assert ball.contains(adv, x).all()
    if bounds is not None:
        assert adv.min() >= bounds[0]
        assert adv.max() <= bounds[1]
    torch.testing.assert_close(ball.project(adv, x), adv, rtol=0, atol=2e-6)
    if eps == 0.0:
        assert torch.equal(adv, x)


@pytest.mark.parametrize("norm", NORMS)
def test_projection_leaves_inner_points_alone(norm):
    x = images(0) * 0.8 + 0.1
    ball = Ball(norm, 5.0)
    near = x + noise(0, x, 0.01)
    torch.testing.assert_close(ball.project(near, x), near, rtol=0, atol=1e-7)


@pytest.mark.parametrize("bounds", [None, (0.0, 1.0)])
@pytest.mark.parametrize("norm", ["L2", "L1"])
@pytest.mark.parametrize("seed", range(6))
def test_projection_is_the_nearest_point(norm, bounds, seed):
    """Against a general constrained solver, in float64 and five dimensions."""
    x = images(seed, rows=1, item=(5,), dtype=torch.float64)
    far = x + noise(seed, x, 0.7)
    eps = {"L2": 0.4, "L1": 0.7}[norm]
    ours = Ball(norm, eps, bounds).project(far, x)[0].numpy()
    base, goal = x[0].numpy(), far[0].numpy()

    # Split into a positive and a negative part, so that L1 becomes smooth.
    def point(parts):
        return base + parts[:5] - parts[5:]

    radius = {
        "L2": lambda parts: eps**2 - ((parts[:5] - parts[5:]) ** 2).sum(),
        "L1": lambda parts: eps - parts.sum(),
    }[norm]
    constraints = [{"type": "ineq", "fun": radius}]
    if bounds is not None:
        constraints += [
            {"type": "ineq", "fun": lambda parts: bounds[1] - point(parts)},
            {"type": "ineq", "fun": lambda parts: point(parts) - bounds[0]},
        ]
    found = minimize(
        lambda parts: ((point(parts) - goal) ** 2).sum(),
        [1e-3] * 10,
        bounds=[(0.0, None)] * 10,
        constraints=constraints,
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    best = ((point(found.x) - goal) ** 2).sum()
    assert ((ours - goal) ** 2).sum() <= best + 1e-6
    assert abs(ours - point(found.x)).max() < 1e-3


def test_projections_by_hand():
    x = torch.zeros(1, 3)
    far = torch.tensor([[3.0, -4.0, 0.0]])
    torch.testing.assert_close(Ball("L2", 1.0, None).project(far, x), torch.tensor([[0.6, -0.8, 0.0]]))
    torch.testing.assert_close(Ball("L1", 3.0, None).project(far, x), torch.tensor([[1.0, -2.0, 0.0]]))
    torch.testing.assert_close(Ball("Linf", 1.0, None).project(far, x), torch.tensor([[1.0, -1.0, 0.0]]))
    torch.testing.assert_close(Ball("L1", 3.0, (-1.5, 9.0)).project(far, x), torch.tensor([[1.5, -1.5, 0.0]]))
    # L2 with the second entry full at -0.6: what is left of the radius goes to the first, sqrt(1 - 0.36).
    torch.testing.assert_close(Ball("L2", 1.0, (-0.6, 9.0)).project(far, x), torch.tensor([[0.8, -0.6, 0.0]]))


@pytest.mark.parametrize("norm", NORMS)
def test_rows_have_their_own_radius(norm):
    x = images(1)
    eps = torch.tensor([0.0, 0.05, 0.2, 0.4])
    far = x + noise(1, x, 10.0)
    together = Ball(norm, eps).project(far, x)
    for row in range(4):
        alone = Ball(norm, float(eps[row])).project(far[row : row + 1], x[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-6)
    rows = torch.tensor([2, 1])
    assert torch.equal(Ball(norm, eps).take(rows).project(far[rows], x[rows]), together[rows])
    assert Ball(norm, 0.1).take(rows) == Ball(norm, 0.1)


@pytest.mark.parametrize("norm", NORMS)
def test_ascent_has_the_step_length_and_climbs_steepest(norm):
    x, slope = images(2, dtype=torch.float64), noise(2, images(2, dtype=torch.float64))
    step = torch.tensor([0.1, 0.2, 0.3, 0.0], dtype=torch.float64)
    moved = Ball(norm, 1.0, None).ascend(x, slope, step) - x
    assert length(moved, norm) == pytest.approx(step.tolist())
    gain = (moved * slope).flatten(1).sum(1)
    dual = {"Linf": 1.0, "L2": 2.0, "L1": math.inf}[norm]
    best = torch.linalg.vector_norm(slope.flatten(1), ord=dual, dim=1) * step
    torch.testing.assert_close(gain, best)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("bounds", [None, (0.0, 1.0)])
def test_a_zero_gradient_stays_and_a_tiny_one_moves(norm, bounds):
    x = images(3) * 0.5 + 0.25
    ball = Ball(norm, 1.0, bounds)
    assert torch.equal(ball.ascend(x, torch.zeros_like(x), 0.1), x)
    moved = ball.ascend(x, noise(3, x, 1e-30), 0.1)
    assert length(moved - x, norm) == pytest.approx([0.1] * 4, rel=1e-3)


def test_sparse_ascent_within_the_range_by_hand():
    """The first entry has no room and is pushed on; the second takes its room, the third joins for the rest."""
    adv = torch.tensor([[1.0, 0.8, 0.5, 0.5]])
    slope = torch.tensor([[5.0, 4.0, 2.0, 1.0]])
    moved = Ball("L1", 9.0).ascend(adv, slope, 0.3) - adv
    torch.testing.assert_close(moved, torch.tensor([[5.0, 4.0, 2.0, 0.0]]) * 0.3 / 6.0)


@pytest.mark.parametrize("norm", NORMS)
def test_samples_are_uniform_in_the_ball(norm):
    """In d dimensions the radius raised to d is uniform; directions are balanced."""
    rows, item = 4000, (3,)
    x = torch.full((rows, *item), 0.5)
    rng = Rng(0, "test").for_rows(torch.arange(rows))
    delta = Ball(norm, 0.4, None).sample(x, rng) - x
    volume = (torch.linalg.vector_norm(delta, ord=ORDER[norm], dim=1) / 0.4) ** 3
    assert volume.max() <= 1.0 + 1e-5
    quantiles = torch.quantile(volume, torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9]))
    torch.testing.assert_close(quantiles, torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9]), rtol=0, atol=0.03)
    assert delta.mean(0).abs().max() < 0.01
    assert (delta > 0).float().mean(0).sub(0.5).abs().max() < 0.04


@pytest.mark.parametrize("norm", NORMS)
def test_samples_stay_inside_and_belong_to_their_row(norm):
    x, names = images(4), torch.tensor([7, 3, 9, 4])
    ball = Ball(norm, torch.tensor([0.0, 0.1, 0.5, 2.0]))
    start = ball.sample(x, Rng(1).for_rows(names))
    assert ball.contains(start, x).all()
    assert torch.equal(start[0], x[0])
    rows = torch.tensor([2, 0])
    assert torch.equal(ball.take(rows).sample(x[rows], Rng(1).for_rows(names[rows])), start[rows])


@pytest.mark.parametrize("norm", NORMS)
def test_contains_sees_each_row(norm):
    x = images(5) * 0.5 + 0.25
    ball = Ball(norm, RADIUS[norm])
    adv = ball.project(x + noise(5, x, 100.0), x)
    assert ball.contains(adv, x).tolist() == [True] * 4
    assert ball.distance(adv, x).tolist() == pytest.approx(length(adv - x, norm))
    beyond = x + (adv - x) * torch.tensor([1.0, 1.001, 1.0, 1.0])[:, None, None, None]
    assert ball.contains(beyond, x).tolist() == [True, False, True, True]
    beyond[2, 0, 0, 0] = math.nan
    assert ball.contains(beyond, x).tolist() == [True, False, False, True]
    outside = x.clone()
    outside[3, 0, 0, 0] = -1e-7
    assert ball.contains(outside, x).tolist() == [True, True, True, False]


def test_what_users_write():
    assert Ball.checked("linf", "8/255") == Ball("Linf", 8 / 255, (0.0, 1.0))
    assert Ball.checked("l2", 128.0, None) == Ball("L2", 128.0, None)
    assert Ball.checked("LINF", 8, (0.0, 255.0)).eps == 8.0
    assert parse_norm("l1") == "L1"
    assert Ball.checked(2, 0.5) == Ball("L2", 0.5)


@pytest.mark.parametrize(
    ("order", "name"),
    [
        (math.inf, "Linf"), (np.float32("inf"), "Linf"), ("inf", "Linf"), ("Inf", "Linf"),
        (2, "L2"), (2.0, "L2"), (np.int64(2), "L2"), ("2", "L2"), (1, "L1"), (1.0, "L1"), ("1", "L1"),
    ],
)  # fmt: skip
def test_a_norm_may_be_its_order(order, name):
    assert parse_norm(order) == name


@pytest.mark.parametrize("order", [0, 3, 1.5, True, -math.inf, math.nan, None, [2], "L0", "", "Linfty", "-inf"])
def test_other_norms_are_refused(order):
    with pytest.raises(UsageError, match="is not known: write one of Linf, L2, L1"):
        parse_norm(order)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("Linf", 8), "write 8/255"),
        (("Linf", "8"), "write 8/255"),
        (("Linf", "8/0"), "eps '8/0'"),
        (("Linf", "eight"), "eps 'eight'"),
        (("L2", -0.1), "negative"),
        (("L2", math.nan), "finite"),
        (("L3", 0.1), "Linf, L2, L1"),
        (("L2", None), "eps = None is no radius"),
        (("L2", True), "eps = True is no radius"),
        (("L2", [0.1]), "is no radius"),
        (("L2", 10**400), "too large"),
        (("Linf", "1e-50"), "eps 1e-50 is too small for float32"),
        (("Linf", 1e-50), "leaves nothing to attack"),
        (("L2", 0.1, (1.0, 0.0)), "lower bound first"),
    ],
)
def test_what_users_should_not_write(arguments, words):
    with pytest.raises(UsageError, match=words):
        Ball.checked(*arguments)
