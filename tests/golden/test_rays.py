"""RayS beside a naked loop over its algorithms, and on linear models whose nearest wrong decision is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robustcl import promises, registry
from robustcl.errors import UsageError
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.types import Attack, Embedding, Oracle
from robustcl_plugins.generators.rays import RayS

RAYS = registry.get("attack", "rays")

pytestmark = [pytest.mark.golden("generator", "rays"), pytest.mark.golden("attack", "rays")]


class Decisions:
    """Logits that tell the decision alone, of a score that is positive for class 0; records what it was asked."""

    def __init__(self, score: Callable[[Tensor], Tensor]) -> None:
        self.score, self.asked = score, []

    def wrong(self, x: Tensor) -> Tensor:
        return self.score(x.flatten(1)) <= 0

    def __call__(self, x: Tensor, places: Tensor) -> Embedding:
        assert not torch.is_grad_enabled()
        self.asked.append(places.tolist())
        return Embedding(logits=torch.nn.functional.one_hot(self.wrong(x).long(), 2).to(x.dtype))

    def attack(self, rows: int, ball: Ball) -> Attack:
        index = torch.arange(rows)
        return Attack(oracle=Oracle(encode=self), ball=ball, rng=Rng(0), label=index * 0, index=index, places=index)


def run(generator: RayS, x: Tensor, attack: Attack) -> Tensor:
    return promises.perturb(generator, "rays", x, attack, modules=[])


def linear(seed: int, size: int = 12, far: float = 0.1) -> tuple[Tensor, Decisions]:
    """Two images and a linear model whose boundary is ``far`` away from both in Linf: margin / |w|_1."""
    weight = Rng(seed).normal((size,), dtype=torch.float64)
    x = torch.full((2, 3, 2, size // 6), 0.5, dtype=torch.float64)
    bias = far * float(weight.abs().sum()) - 0.5 * float(weight.sum())
    return x, Decisions(lambda v: v @ weight + bias)


class ByHand:
    """Algorithms 1 and 3 for one flat image, step by step."""

    def __init__(self, x: list[float], wrong: Callable[[list[float]], bool], tolerance: float) -> None:
        self.x, self.wrong, self.tolerance, self.queries = x, wrong, tolerance, 0
        self.best, self.nearest = [1.0] * len(x), math.inf

    def fools(self, ray: list[float], radius: float) -> bool:
        self.queries += 1
        return self.wrong([min(max(v + radius * s, 0.0), 1.0) for v, s in zip(self.x, ray, strict=True)])

    def distance(self, ray: list[float]) -> float:
        reach = min(self.nearest, 1.0)
        if not self.fools(ray, reach):
            return math.inf
        low, high = 0.0, reach
        while True:
            middle = (low + high) / 2
            low, high = (low, middle) if self.fools(ray, middle) else (middle, high)
            if (high - low) * math.sqrt(len(self.x)) <= self.tolerance:
                return high

    def search(self, queries: int) -> None:
        """Stop at the first end of a block after so many queries."""
        stage = 0
        while True:
            size = math.ceil(len(self.x) / 2**stage)
            for begin in range(0, len(self.x), size):
                ray = [-s if begin <= i < begin + size else s for i, s in enumerate(self.best)]
                found = self.distance(ray)
                if found < self.nearest:
                    self.best, self.nearest = ray, found
                if self.queries >= queries:
                    return
            stage += size > 1


@pytest.mark.parametrize("seed", range(3))
def test_one_row_is_the_papers_search_in_naked_loops(seed):
    size = 12
    mix = Rng(seed, "mix").normal((size, 5), dtype=torch.float64)
    bent = Decisions(lambda v: 1.2 - torch.tanh((v - 0.5) @ mix).square().sum(1))
    x = torch.full((2, size), 0.5, dtype=torch.float64)
    by_hand = ByHand(x[1].tolist(), lambda v: bool(bent.wrong(torch.tensor([v], dtype=torch.float64))), 0.01)
    by_hand.search(150)
    assert math.isfinite(by_hand.nearest)
    eps = 0.5 * by_hand.nearest
    adv = run(RayS(queries=by_hand.queries, tolerance=0.01), x, bent.attack(2, Ball("Linf", eps)))
    expected = x[1] + eps * torch.tensor(by_hand.best, dtype=torch.float64)
    torch.testing.assert_close(adv[1], expected, rtol=0, atol=1e-12)
    found = run(RayS(queries=by_hand.queries, tolerance=0.01), x, bent.attack(2, Ball("Linf", by_hand.nearest)))
    assert bool(bent.wrong(found).all())


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_on_a_linear_model_it_finds_the_nearest_wrong_decision(seed):
    x, model = linear(seed)
    near = run(RayS(queries=400), x, model.attack(2, Ball("Linf", 0.1 + 0.001)))
    assert bool(model.wrong(near).all()), "the boundary is 0.1 away"
    far = run(RayS(queries=400), x, model.attack(2, Ball("Linf", 0.099)))
    assert not bool(model.wrong(far).any()), "no point of the ball is fooled"
    optimum = model.score((x + (far - x).sign() * 0.1).flatten(1))
    torch.testing.assert_close(optimum, torch.zeros(2, dtype=torch.float64), rtol=0, atol=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_rows_search_alone_and_leave_when_they_are_fooled(seed):
    weight = Rng(seed).normal((18,), dtype=torch.float64)
    x = 0.3 + 0.4 * Rng(seed, "x").uniform((6, 2, 3, 3), dtype=torch.float64)
    bias = float((x.flatten(1) @ weight).min()) - 0.3
    model = Decisions(lambda v: v @ weight - bias)
    attack = model.attack(6, Ball("Linf", torch.linspace(0.02, 0.2, 6).double()))
    adv = run(RayS(queries=200), x, attack)
    sizes = [len(places) for places in model.asked]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) >= 3
    assert len(sizes) == 201
    left = torch.tensor([row not in model.asked[-1] for row in range(6)])
    assert bool(model.wrong(adv)[left].all())
    for row in range(6):
        only = torch.tensor([row])
        assert torch.equal(run(RayS(queries=200), x[only], attack.take(only)), adv[only])


def test_a_ray_that_meets_nothing_leaves_x_and_wrong_rows_stay():
    x = torch.full((2, 1, 2, 2), 0.5)
    blind = Decisions(lambda v: torch.ones(len(v)))
    assert torch.equal(run(RayS(queries=30), x, blind.attack(2, Ball("Linf", 0.1))), x)
    always = Decisions(lambda v: -torch.ones(len(v)))
    assert torch.equal(run(RayS(queries=30), x, always.attack(2, Ball("Linf", 0.1))), x)
    assert always.asked == [[0, 1]]


def test_a_row_leaves_only_when_the_judge_confirms():
    x, model = linear(3)
    asked: list[list[int]] = []

    def confirmation(v: Tensor, places: Tensor) -> Tensor:
        asked.append(places.tolist())
        return places == 1

    attack = model.attack(2, Ball("Linf", 0.3)).but(breaks=confirmation)
    run(RayS(queries=100), x, attack)
    assert model.asked[-1] == [0]
    assert len(model.asked) == 101
    assert sum(1 in places for places in asked) == 1


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    item=st.sampled_from([(3, 5, 4), (2, 3, 4, 4), (7,), (1, 1, 1)]),
    bounds=st.sampled_from([(0.0, 1.0), (-1.0, 3.0)]),
)
def test_the_result_is_in_ball_and_range(seed, item, bounds):
    x = Rng(seed).uniform((3, *item))
    weight = Rng(seed, "w").normal((math.prod(item),))
    model = Decisions(lambda v: torch.sin(5 * v @ weight) + 0.5)
    ball = Ball("Linf", torch.tensor([0.0, 0.05, 0.4]), bounds)
    adv = run(RayS(queries=100), x, model.attack(3, ball))
    assert torch.equal(adv[0], x[0])


def test_other_balls_are_refused():
    x, model = linear(0)
    with pytest.raises(UsageError, match="not of L2: take square"):
        RayS().perturb(x, model.attack(2, Ball("L2", 0.1)))
    with pytest.raises(UsageError, match="this threat has none"):
        RAYS().members(2, Ball("Linf", 0.1, None))


def test_the_member_is_called_rays_and_its_options_arrive():
    ((name, usual),) = RAYS().members(10, Ball("Linf", 0.1))
    assert (name, usual.queries, usual.tolerance) == ("rays", 5000, 0.001)
    ((_, few),) = RAYS(queries=7).members(10, Ball("Linf", 0.1))
    assert few.queries == 7
