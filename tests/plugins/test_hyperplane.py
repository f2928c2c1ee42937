"""The shortest move onto a hyperplane within a box, beside general solvers, by hand and by its properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, lsq_linear
from torch import Tensor

from robustcl.rng import Rng
from robustcl.threat import Range
from robustcl_plugins.generators.hyperplane import shortest_move

NORMS = ("Linf", "L2", "L1")
ORDER = {"Linf": float("inf"), "L2": 2, "L1": 1}


def lengths(move: Tensor, norm: str) -> Tensor:
    return torch.linalg.vector_norm(move.flatten(1), ord=ORDER[norm], dim=1)


def problem(seed: int, rows: int, width: int, share: float) -> tuple[Tensor, Tensor, Tensor]:
    """Points with some entries at the ends of [0, 1], normals with a zero, values at a share of what is possible."""
    rng = Rng(seed, "problem")
    points = rng.uniform((rows, width), -0.3, 1.3, dtype=torch.float64).clamp(0.0, 1.0)
    normal = rng.normal((rows, width), dtype=torch.float64)
    normal[:, 0] = 0.0
    lowest = torch.where(normal > 0, -points * normal, (1 - points) * normal).sum(1)
    highest = torch.where(normal > 0, (1 - points) * normal, -points * normal).sum(1)
    up = rng.uniform((rows,), dtype=torch.float64) < 0.5
    return points, normal, torch.where(up, -share * highest, -share * lowest)


def by_linear_program(t: np.ndarray, w: np.ndarray, value: float, norm: str, box: Range) -> float:
    """The least length in Linf or L1: minimise the bounds of |d| with w . d = -value and t + d in the box."""
    n = len(t)
    bounds = 1 if norm == "Linf" else n
    cost = np.concatenate([np.zeros(n), np.ones(bounds)])
    over = np.ones((n, 1)) if norm == "Linf" else np.eye(n)
    rows = np.block([[np.eye(n), -over], [-np.eye(n), -over]])
    low, high = (-np.inf, np.inf) if box is None else box
    limits = [(low - v, high - v) for v in t] + [(0, None)] * bounds
    answer = linprog(
        cost,
        A_ub=rows,
        b_ub=np.zeros(2 * n),
        A_eq=[np.concatenate([w, np.zeros(bounds)])],
        b_eq=[-value],
        bounds=limits,
    )
    assert answer.success
    return float(answer.fun)


def by_least_squares(t: np.ndarray, w: np.ndarray, value: float, box: Range) -> float:
    """The least length in L2: minimise |d|^2 with the equation as a row that weighs far more."""
    heavy = 1e5
    low, high = (-np.inf, np.inf) if box is None else box
    free = (low - t < high - t) & (np.abs(w) > 0)
    matrix, wanted = (
        np.vstack([np.eye(free.sum()), heavy * w[free]]),
        np.concatenate([np.zeros(free.sum()), [-heavy * value]]),
    )
    limits = (-np.inf, np.inf) if box is None else ((low - t - 1e-15)[free], (high - t + 1e-15)[free])
    return float(np.linalg.norm(lsq_linear(matrix, wanted, limits, method="bvls", tol=1e-14).x))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.9])
@pytest.mark.parametrize("box", [(0.0, 1.0), None])
def test_the_length_is_that_of_a_general_solver(norm, share, box):
    points, normal, value = problem(3, 6, 7, share)
    move = shortest_move(points, normal, value, norm, box)
    torch.testing.assert_close((normal * move).sum(1), -value, rtol=0, atol=1e-12)
    cases = zip(points.numpy(), normal.numpy(), value.tolist(), strict=True)
    solve = by_least_squares if norm == "L2" else lambda t, w, v, b: by_linear_program(t, w, v, norm, b)
    expected = [solve(t, w, v, box) for t, w, v in cases]
    assert lengths(move, norm).tolist() == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        ("Linf", [-0.1, 0.2, -0.2]),  # 0.1 * 1 + 0.2 * 1 + 0.2 * 2 = 0.7
        ("L2", [-0.1, 0.12, -0.24]),  # 0.1 + 0.12 + 2 * 0.24 = 0.7, in proportion 1 : 2
        ("L1", [0.0, 0.0, -0.35]),
    ],
)
def test_moves_by_hand(norm, expected):
    points, normal = torch.tensor([[0.1, 0.5, 0.5]]), torch.tensor([[1.0, -1.0, 2.0]])
    move = shortest_move(points, normal, torch.tensor([0.7]), norm, (0.0, 1.0))
    torch.testing.assert_close(move, torch.tensor([expected]), rtol=0, atol=1e-6)


def test_l1_fills_the_steepest_entry_before_the_next():
    points, normal = torch.tensor([[0.1, 0.5, 0.5]]), torch.tensor([[3.0, -1.0, 2.0]])
    move = shortest_move(points, normal, torch.tensor([0.7]), "L1", (0.0, 1.0))
    torch.testing.assert_close(move, torch.tensor([[-0.1, 0.0, -0.2]]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_a_plane_out_of_reach_is_approached_as_far_as_the_range_goes(norm):
    points, normal = torch.tensor([[0.25, 0.5, 0.5]]), torch.tensor([[1.0, 0.0, -2.0]])
    for value, end in ((5.0, [0.0, 0.5, 1.0]), (-5.0, [1.0, 0.5, 0.0])):
        move = shortest_move(points, normal, torch.tensor([value]), norm, (0.0, 1.0))
        torch.testing.assert_close(points + move, torch.tensor([end]))


@pytest.mark.parametrize("box", [(0.0, 1.0), None])
@pytest.mark.parametrize("norm", NORMS)
def test_nothing_to_do_and_nowhere_to_go_move_nothing(norm, box):
    points, normal = torch.rand(2, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 3)
    normal[0] = torch.tensor([1.0, -2.0, 0.0])
    move = shortest_move(points, normal, torch.tensor([0.0, 1.0]), norm, box)
    assert torch.equal(move, torch.zeros(2, 3)), "on the plane already; a function without slope"


@settings(max_examples=25, deadline=None)
@given(
    norm=st.sampled_from(NORMS), seed=st.integers(0, 999), width=st.integers(2, 30), share=st.floats(0.0, 1.5),
)  # fmt: skip
def test_no_other_point_of_plane_and_range_is_nearer(norm, seed, width, share):
    """Any point of the plane is found as a point of the segment from t to some point beyond the plane."""
    points, normal, value = problem(seed, 4, width, share)
    move = shortest_move(points, normal, value, norm, (0.0, 1.0))
    landed = points + move
    assert landed.min() >= -1e-15
    assert landed.max() <= 1 + 1e-15
    rng = Rng(seed, "rivals")
    for _ in range(20):
        rival = rng.uniform(points.shape, -0.5, 1.5, dtype=torch.float64).clamp(0.0, 1.0) - points
        gain = (normal * rival).sum(1) / -value
        crossing = gain >= 1.0  # the row's plane lies between t and this point
        on_plane = rival / gain[:, None]
        assert (lengths(on_plane, norm) >= lengths(move, norm) - 1e-12)[crossing].all()


@pytest.mark.parametrize("norm", NORMS)
def test_rows_do_not_see_each_other_and_items_may_have_any_shape(norm):
    points, normal, value = problem(5, 8, 12, 0.6)
    together = shortest_move(points, normal, value, norm, (0.0, 1.0))
    for i in range(8):
        one = shortest_move(points[[i]], normal[[i]], value[[i]], norm, (0.0, 1.0))
        torch.testing.assert_close(together[[i]], one, rtol=0, atol=1e-15)
    shaped = shortest_move(points.view(8, 3, 2, 2), normal.view(8, 3, 2, 2), value, norm, (0.0, 1.0))
    assert torch.equal(shaped.flatten(1), together)


@pytest.mark.parametrize("norm", NORMS)
def test_single_precision_keeps_its_dtype_and_tiny_slopes_count(norm):
    points, normal, value = (v.float() for v in problem(6, 4, 10, 0.5))
    plain = shortest_move(points, normal, value, norm, (0.0, 1.0))
    tiny = shortest_move(points, normal * 2.0**-100, value * 2.0**-100, norm, (0.0, 1.0))
    assert plain.dtype == torch.float32
    torch.testing.assert_close(plain, tiny)
