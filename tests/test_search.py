"""The inner maximiser on losses whose optimum is known in closed form."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustcl import search
from robustcl.errors import UsageError
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.types import Attack, Embedding, Oracle

NORMS = ("Linf", "L2", "L1")


def images(seed: int, rows: int = 3, width: int = 6, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(rows, width, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def slopes(seed: int, rows: int = 3, width: int = 6, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed + 99), dtype=dtype)


def rows_rng(rows: int, seed: int = 0) -> Rng:
    return Rng(seed, "test").for_rows(torch.arange(rows))


def optimum(x: Tensor, slope: Tensor, norm: str, eps: float) -> Tensor:
    """The largest slope @ (x + d) over the ball without a range: Hoelder's inequality."""
    dual = {"Linf": 1, "L2": 2, "L1": float("inf")}[norm]
    return (x * slope).sum(1) + eps * torch.linalg.vector_norm(slope, ord=dual, dim=1)


@pytest.mark.parametrize("start", ["none", "uniform", "gaussian"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", range(4))
def test_linear_losses_reach_their_closed_form(norm, start, seed):
    x, slope = images(seed), slopes(seed)
    ball = Ball(norm, 0.5, None)
    adv = search.ascend(x, lambda v: (v * slope).sum(1), ball, steps=100, step_size=0.1, rng=rows_rng(3), start=start)
    torch.testing.assert_close((adv * slope).sum(1), optimum(x, slope, norm, 0.5), rtol=0, atol=1e-6)
    assert ball.contains(adv, x).all()


def best_in_box(x: list[float], slope: list[float], norm: str, eps: float) -> float:
    """The optimum of a linear loss within ball and [0, 1], by naked loops."""
    rooms = [(1 - v if s > 0 else v) for v, s in zip(x, slope, strict=True)]
    sizes = [abs(s) for s in slope]
    base = sum(v * s for v, s in zip(x, slope, strict=True))
    if norm == "Linf":
        return base + sum(s * min(eps, room) for s, room in zip(sizes, rooms, strict=True))
    if norm == "L1":  # greedily: the steepest entries first, each as far as it has room
        budget = eps
        for s, room in sorted(zip(sizes, rooms, strict=True), reverse=True):
            base, budget = base + s * min(room, budget), budget - min(room, budget)
        return base
    low, high = 0.0, 1e9  # L2: the entries are min(scale * slope, room); bisect the scale
    for _ in range(200):
        scale = (low + high) / 2
        moves = [min(scale * s, room) for s, room in zip(sizes, rooms, strict=True)]
        low, high = (scale, high) if sum(m * m for m in moves) < eps * eps else (low, scale)
    return base + sum(s * min(low * s, room) for s, room in zip(sizes, rooms, strict=True))


@pytest.mark.parametrize(("norm", "eps"), [("Linf", 0.3), ("L2", 0.7), ("L1", 1.3), ("L1", 0.2), ("L2", 9.0)])
@pytest.mark.parametrize("seed", range(4))
def test_linear_losses_reach_their_optimum_within_the_range(norm, eps, seed):
    x, slope = images(seed), slopes(seed)
    adv = search.ascend(x, lambda v: (v * slope).sum(1), Ball(norm, eps), steps=200, step_size=eps / 4, rng=rows_rng(3))
    best = [best_in_box(x[i].tolist(), slope[i].tolist(), norm, eps) for i in range(3)]
    assert (adv * slope).sum(1).tolist() == pytest.approx(best, abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(norm=st.sampled_from(NORMS), seed=st.integers(0, 500), small=st.floats(0.0, 0.5), more=st.floats(0.0, 0.5))
def test_a_larger_ball_is_never_worse_on_a_linear_loss(norm, seed, small, more):
    x, slope = images(seed), slopes(seed)

    def reached(eps: float) -> Tensor:
        ball = Ball(norm, eps)
        found = search.ascend(
            x, lambda v: (v * slope).sum(1), ball, steps=20, step_size=eps, rng=rows_rng(3), start="none"
        )
        assert ball.contains(found, x).all()
        return (found * slope).sum(1)

    assert (reached(small + more) >= reached(small) - 1e-9).all()


def bumpy(v: Tensor) -> Tensor:
    """Many local maxima, separable by row."""
    return (torch.sin(40 * v) + v).sum(1)


@pytest.mark.parametrize("norm", NORMS)
def test_restarts_never_hurt_a_row_and_help_some(norm):
    x = images(0, rows=12)
    values = []
    for restarts in (1, 2, 8):
        adv = search.ascend(x, bumpy, Ball(norm, 0.3), steps=3, step_size=0.02, rng=rows_rng(12), restarts=restarts)
        values.append(bumpy(adv))
    assert (values[1] >= values[0]).all()
    assert (values[2] >= values[1]).all()
    assert (values[2] > values[0]).any()


def test_a_loss_of_the_whole_batch_keeps_the_best_whole_batch():
    """Each restart alone, recomputed; the answer is one of them entire, not a patchwork of rows."""
    x, ball, options = images(1, rows=6), Ball("Linf", 0.3), {"steps": 2, "step_size": 0.02}

    def coupled(v: Tensor) -> Tensor:
        return bumpy(v).sum() - (v @ v.T).square().sum()

    rng = rows_rng(6)
    alone = [search.ascend(x, coupled, ball, rng=rng, separable=False, **options) for _ in range(5)]
    scores = [float(coupled(adv)) for adv in alone]
    together = search.ascend(x, coupled, ball, rng=rows_rng(6), restarts=5, separable=False, **options)
    assert torch.equal(together, alone[scores.index(max(scores))])
    assert scores.index(max(scores)) > 0, "the first restart must not be the best, or this shows nothing"


def test_a_batch_loss_may_come_as_rows():
    x, ball = images(2, rows=8), Ball("Linf", 0.3)
    options = {"steps": 2, "step_size": 0.02, "restarts": 4}
    as_rows = search.ascend(x, bumpy, ball, rng=rows_rng(8), separable=False, **options)
    as_sum = search.ascend(x, lambda v: bumpy(v).sum(), ball, rng=rows_rng(8), separable=False, **options)
    assert torch.equal(as_rows, as_sum)
    by_row = search.ascend(x, bumpy, ball, rng=rows_rng(8), separable=True, **options)
    assert not torch.equal(as_rows, by_row), "the best rows must not all be of one restart, or this shows nothing"


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("start", ["none", "uniform", "gaussian"])
def test_a_row_does_not_depend_on_its_neighbours(norm, start):
    x, names = images(3, rows=5), torch.tensor([4, 8, 15, 16, 23])
    ball = Ball(norm, torch.tensor([0.1, 0.0, 0.3, 0.2, 0.5], dtype=torch.float64))
    options = {"steps": 4, "step_size": 0.05, "start": start, "restarts": 1 if start == "none" else 3}
    together = search.ascend(x, bumpy, ball, rng=Rng(5).for_rows(names), **options)
    rows = torch.tensor([3, 0])
    apart = search.ascend(x[rows], bumpy, ball.take(rows), rng=Rng(5).for_rows(names[rows]), **options)
    torch.testing.assert_close(apart, together[rows], rtol=0, atol=1e-12)
    assert torch.equal(together[1], x[1])


def test_steps_and_step_sizes_of_each_row():
    x, slope, ball = images(4), slopes(4), Ball("Linf", 0.3)
    steps, size = torch.tensor([0, 1, 3]), torch.tensor([0.05, 0.02, 0.1], dtype=torch.float64)

    def loss(v: Tensor) -> Tensor:
        return (v.square() * slope[: len(v)]).sum(1)

    together = search.ascend(x, loss, ball, steps=steps, step_size=size, rng=rows_rng(3), start="none")
    assert torch.equal(together[0], x[0])
    for row in (1, 2):

        def alone(v: Tensor, row: int = row) -> Tensor:
            return (v.square() * slope[row]).sum(1)

        expected = search.ascend(
            x[row : row + 1],
            alone,
            ball,
            steps=int(steps[row]),
            step_size=float(size[row]),
            rng=rows_rng(1),
            start="none",
        )
        torch.testing.assert_close(together[row : row + 1], expected)


def test_one_step_by_hand():
    """From x, without noise: the sign of the gradient times the step, cut by eps, then by the range."""
    x = torch.tensor([[0.5, 0.5, 0.99, 0.5]])
    slope = torch.tensor([[2.0, -3.0, 1.0, 0.0]])
    adv = search.ascend(
        x,
        lambda v: (v * slope).sum(1),
        Ball("Linf", 0.1),
        steps=1,
        step_size=0.25,
        rng=Rng(0),
        start="none",
    )
    torch.testing.assert_close(adv, torch.tensor([[0.6, 0.4, 1.0, 0.5]]))


def test_the_gaussian_start_is_small_noise_and_the_uniform_one_fills_the_ball():
    x = torch.full((2000, 5), 0.5)
    nothing = torch.zeros(len(x), dtype=torch.int64)

    def begin(start: search.Start) -> Tensor:
        ball, rng = Ball("Linf", 0.1), rows_rng(len(x))
        return search.ascend(x, bumpy, ball, steps=nothing, step_size=0.1, rng=rng, start=start) - x

    assert begin("gaussian").std() == pytest.approx(0.001, rel=0.05)
    assert begin("uniform").std() == pytest.approx(0.1 / 3**0.5, rel=0.05)
    assert begin("none").abs().max() == 0


def test_the_objective_is_asked_once_a_step():
    x, calls = images(5), []

    def counted(v: Tensor) -> Tensor:
        calls.append(torch.is_grad_enabled())
        return bumpy(v)

    with torch.no_grad():
        search.ascend(x, counted, Ball("Linf", 0.1), steps=7, step_size=0.02, rng=Rng(0))
    assert calls == [True] * 7
    calls.clear()
    search.ascend(x, counted, Ball("Linf", 0.1), steps=2, step_size=0.02, rng=Rng(0), restarts=3)
    assert calls == [True, True, False] * 3


def test_parameters_keep_no_gradient_and_the_result_no_graph():
    net, x = nn.Linear(6, 2).double(), images(6).requires_grad_()
    adv = search.ascend(x, lambda v: net(v).square().sum(1), Ball("L2", 0.2), steps=3, step_size=0.1, rng=Rng(0))
    assert not adv.requires_grad
    assert x.grad is None
    assert all(parameter.grad is None for parameter in net.parameters())


def test_restarts_that_would_repeat_each_other_are_refused():
    with pytest.raises(UsageError, match="start = 'uniform'"):
        search.ascend(images(7), bumpy, Ball("L2", 1.0), steps=1, step_size=0.1, rng=Rng(0), start="none", restarts=2)


def doubted(asked: list[int], rows: int = 3) -> Attack:
    """An attack whose own verdict is always "fooled", and whose judge never agrees."""
    index = torch.arange(rows)

    def refuse(candidates: Tensor, places: Tensor) -> Tensor:
        asked.append(len(candidates))
        return torch.zeros(len(candidates), dtype=torch.bool)

    oracle = Oracle(
        encode=lambda v, places: Embedding(logits=v[:, :2]),
        objective=lambda embedding, places: embedding.logits[:, 1],
        fooled=lambda embedding, places: torch.ones(len(places), dtype=torch.bool),
        breaks=refuse,
    )
    ball = Ball("Linf", 0.2)
    return Attack(oracle=oracle, ball=ball, rng=rows_rng(rows), label=index * 0, index=index, places=index)


@pytest.mark.parametrize("restarts", [1, 3])
def test_a_row_leaves_only_when_the_judge_agrees(restarts):
    x, asked = torch.full((3, 4), 0.5), []
    adv = search.pursue(x, doubted(asked), steps=8, step_size=None, restarts=restarts)
    assert len(asked) >= 8 * restarts
    torch.testing.assert_close(adv[:, 1], torch.full((3,), 0.7))


@pytest.mark.parametrize(("norm", "eps"), [("Linf", 8 / 255), ("L2", 0.5), ("L1", 12.0)])
def test_a_step_that_is_left_out_is_a_quarter_of_eps(norm, eps):
    x, slope = torch.full((2, 600), 0.5), torch.randn(2, 600, generator=torch.Generator().manual_seed(0))
    ball = Ball(norm, eps)

    def climbed(step: float | None) -> Tensor:
        return search.ascend(x, lambda v: (v * slope).sum(1), ball, steps=20, step_size=step, rng=rows_rng(2))

    torch.testing.assert_close(climbed(None), climbed(eps / 4))
    assert search.step_length(None, Ball("Linf", 8 / 255)) == 2 / 255
