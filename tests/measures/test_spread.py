"""Alignment, uniformity and the signs of collapse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import special_ortho_group

from robustcl.errors import UsageError
from robustcl.measures import alignment, effective_rank, feature_deviation, uniformity
from robustcl.rng import Rng


def naked_uniformity(rows: list[list[float]], t: float) -> float:
    unit = [[value / math.hypot(*row) for value in row] for row in rows]
    pairs = [math.dist(unit[i], unit[j]) ** 2 for i in range(len(unit)) for j in range(i)]
    return math.log(sum(math.exp(-t * square) for square in pairs) / len(pairs))


def test_alignment_by_hand() -> None:
    first = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    second = torch.tensor([[0.0, 5.0], [0.0, 9.0], [-1.0, 0.0]])
    assert alignment(first, second) == pytest.approx((2 + 0 + 4) / 3)
    assert alignment(first, second, alpha=1.0) == pytest.approx((2**0.5 + 0 + 2) / 3)
    assert alignment(torch.zeros(1, 2), torch.ones(1, 2)) == pytest.approx(1.0)


def test_uniformity_by_hand() -> None:
    square = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0], [0.0, -4.0]])
    assert uniformity(square) == pytest.approx(math.log((4 * math.exp(-4) + 2 * math.exp(-8)) / 6))
    assert uniformity(torch.ones(7, 3)) == 0.0
    assert uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(-8.0)
    assert uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), t=1e6) == pytest.approx(-4e6)  # exp would be 0
    assert uniformity(torch.tensor([[1.0, 0.0], [0.0, 0.0]])) == pytest.approx(-2.0)


@pytest.mark.parametrize("chunk", [1, 4, 5, 13, 1000])
def test_uniformity_agrees_with_all_pairs_in_any_chunks(chunk: int) -> None:
    rows = Rng(0).normal((13, 4), dtype=torch.float64)
    assert uniformity(rows, t=3.0, chunk=chunk) == pytest.approx(naked_uniformity(rows.tolist(), 3.0), rel=1e-13)


def test_points_all_over_the_sphere_are_more_uniform_than_a_cap() -> None:
    sphere = Rng(1).normal((300, 8))
    cap = sphere + 5.0
    # The mean over the whole 7-sphere with t = 2: E exp(-4 + 4 s), s being one coordinate.
    s = np.linspace(-1, 1, 20001)
    density = (1 - s**2) ** 2.5
    expected = math.log(float((density * np.exp(4 * s - 4)).sum() / density.sum()))
    assert uniformity(sphere) == pytest.approx(expected, abs=0.05)
    assert uniformity(cap) > -0.5
    assert feature_deviation(sphere) == pytest.approx(1 / 8**0.5, rel=0.01)
    assert feature_deviation(cap) < 0.1


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), scale=st.floats(1e-6, 1e6))
def test_scale_and_rotation_change_nothing(seed: int, scale: float) -> None:
    rows = Rng(seed).normal((12, 5), dtype=torch.float64)
    other = rows + 0.1 * Rng(seed, "other").normal((12, 5), dtype=torch.float64)
    turn = scale * torch.from_numpy(special_ortho_group.rvs(5, random_state=seed))
    assert uniformity(rows @ turn) == pytest.approx(uniformity(rows))
    assert alignment(rows @ turn, other @ turn) == pytest.approx(alignment(rows, other))
    assert effective_rank(rows @ turn) == pytest.approx(effective_rank(rows))
    assert feature_deviation(scale * rows) == pytest.approx(feature_deviation(rows))


# --- collapse -----------------------------------------------------------------------------------------------


def test_effective_rank_by_hand() -> None:
    assert effective_rank(torch.eye(5)) == pytest.approx(5.0)
    assert effective_rank(torch.ones(9, 4)) == pytest.approx(1.0)
    assert effective_rank(torch.ones(9, 4), centred=True) == 0.0
    assert effective_rank(torch.full((9, 4), 0.1), centred=True) == 0.0  # its mean is off by a rounding
    assert effective_rank(torch.zeros(3, 4)) == 0.0
    shares = [3 / 4, 1 / 4]
    expected = math.exp(-sum(p * math.log(p) for p in shares))
    assert effective_rank(torch.diag(torch.tensor([3.0, -1.0]))) == pytest.approx(expected)
    assert effective_rank(torch.tensor([[1.0, 2.0]])) == pytest.approx(1.0)


@pytest.mark.parametrize(("n", "width"), [(40, 6), (6, 40), (7, 7)])
@pytest.mark.parametrize("chunk", [1, 9, 1000])
def test_effective_rank_agrees_with_numpy_in_any_chunks(n: int, width: int, chunk: int) -> None:
    rows = Rng(n).normal((n, width), dtype=torch.float64) + 1.0
    for centred, matrix in ((False, rows), (True, rows - rows.mean(dim=0))):
        values = np.linalg.svd(matrix.numpy(), compute_uv=False)
        share = values[values > 1e-10] / values.sum()
        expected = math.exp(-float((share * np.log(share)).sum()))
        assert effective_rank(rows, centred=centred, chunk=chunk) == pytest.approx(expected, rel=1e-10)


def test_feature_deviation_by_hand() -> None:
    assert feature_deviation(torch.tensor([[2.0, 0.0], [0.0, 3.0]])) == pytest.approx(0.5)
    assert feature_deviation(torch.tensor([[2.0, 0.0]])) == 0.0
    rows = Rng(3).normal((20, 6), dtype=torch.float64)
    unit = rows.numpy() / np.linalg.norm(rows.numpy(), axis=1, keepdims=True)
    assert feature_deviation(rows) == pytest.approx(float(unit.std(axis=0).mean()))


def test_arguments_that_do_not_fit_are_refused() -> None:
    rows = torch.eye(3)
    with pytest.raises(UsageError, match="1 rows of features are too few"):
        uniformity(rows[:1])
    with pytest.raises(UsageError, match="too few"):
        effective_rank(rows[:0])
    with pytest.raises(UsageError, match="t = 0"):
        uniformity(rows, t=0.0)
    with pytest.raises(UsageError, match="alpha = nan"):
        alignment(rows, rows, alpha=math.nan)
    with pytest.raises(UsageError, match="chunk = 0"):
        uniformity(rows, chunk=0)
    with pytest.raises(UsageError, match="infinite or not a number"):
        feature_deviation(rows / 0)
