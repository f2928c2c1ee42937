"""Single steps of attacks by hand: FAB's way between x and the boundary, ties of a search, what libraries are given."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustcl.errors import NeedNotMet, UsageError
from robustcl.evaluate.classifier import of_model
from robustcl.evaluate.judge import Judge
from robustcl.rng import Rng
from robustcl.testing.builders import make_attack
from robustcl.threat import Ball
from robustcl_plugins.generators import auto_step
from robustcl_plugins.generators.apgd import APGD, phased
from robustcl_plugins.generators.fab import FAB, _Walk
from robustcl_plugins.generators.foreign import grown, numbers, radius, within
from robustcl_plugins.generators.square import HALVINGS, Square, share


@pytest.mark.parametrize(("at", "limit"), [(1.0, 1.0), (1.0, 0.25), (0.0, 1.0), (1.5, 1.0), (1.5, 0.1)])
def test_a_step_goes_between_the_boundary_seen_from_here_and_from_x(at: float, limit: float) -> None:
    """On a line both see the boundary at 2: from ``at``, where the value is at - 2, and from x = 0."""
    x, points = torch.zeros(1, 1), torch.full((1, 1), at)
    walk = _Walk.from_start(torch.arange(1), points, torch.ones(1, dtype=torch.int64))
    ball = Ball("Linf", 9.0, None)
    found: Any = SimpleNamespace(x=x, attack=SimpleNamespace(ball=ball))
    plugin = FAB(alpha_max=limit, eta=1.0, beta=0.5)
    plugin._step(walk, torch.arange(1), torch.tensor([at - 2.0]), torch.ones(1, 1), found)
    assert float(walk.points) == pytest.approx(2.0)
    assert (walk.count.tolist(), walk.judged.tolist()) == ([1], [False])
    overshot = FAB(alpha_max=limit, eta=2.0, beta=0.5)
    again = _Walk.from_start(torch.arange(1), points, torch.ones(1, dtype=torch.int64))
    overshot._step(again, torch.arange(1), torch.tensor([at - 2.0]), torch.ones(1, 1), found)
    # Twice as far: 4 - at from here and 4 from x, in the share (2 - at) / (4 - at), at most the limit.
    part = min((2 - at) / (4 - at), limit)
    assert float(again.points) == pytest.approx((1 - part) * (4 - at) + part * 4)


@pytest.mark.parametrize(("beta", "expected"), [(0.5, True), (0.9, False), (0.2, True)])
def test_a_point_behind_the_wrong_one_may_be_right(beta: float, expected: bool) -> None:
    """The point is 1 from x and the boundary 1 further on: beta times that is held against 1 - beta."""
    walk = _Walk.from_start(torch.arange(1), torch.ones(1, 1), torch.ones(1, dtype=torch.int64))
    walk.wrong = torch.tensor([True])
    found: Any = SimpleNamespace(x=torch.zeros(1, 1), attack=SimpleNamespace(ball=Ball("Linf", 9.0, None)))
    FAB(beta=beta)._step(walk, torch.arange(1), torch.tensor([-1.0]), torch.ones(1, 1), found)
    assert walk.wrong.tolist() == [expected]


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([[3.0, 1.0]]).repeat(len(x), 1) + 0 * x.flatten(1)[:, :1]


def test_what_is_no_better_is_dropped_and_x_stays() -> None:
    x = torch.full((3, 1, 6, 6), 0.5)
    for norm in ("Linf", "L2", "L1"):
        judge = Judge(of_model(Constant()), Ball(norm, 0.1), Rng(0), nullcontext)
        moved, _ = judge.attack(x, torch.zeros(3, dtype=torch.int64), torch.arange(3), "it",
                                [("square", Square(queries=4, restarts=2))])  # fmt: skip
        assert torch.equal(moved, x)


def test_windows_shrink_after_the_published_queries() -> None:
    for number, halving in enumerate(HALVINGS):
        assert share(0.8, halving, 10_000) == 0.8 * 0.5**number
        assert share(0.8, halving + 1, 10_000) == 0.8 * 0.5 ** (number + 1)
    assert share(0.8, 6, 5_000) == 0.4
    assert share(0.8, 5, 5_000) == 0.8


@pytest.mark.parametrize(("norm", "large", "balls"), [
    ("L1", None, [3.0, 2.0, 1.0]), ("L1", False, [1.0]), ("Linf", None, [1.0]), ("L2", False, [1.0]),
])  # fmt: skip
def test_larger_balls_begin_where_the_last_one_ended(
    norm: str, large: bool | None, balls: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, seen = auto_step.schedule, list[tuple[float, Any]]()

    def spied(x: Tensor, ball: Ball, *, steps: int, rho: float, start: Tensor | None) -> Any:
        seen.append((float(ball.eps), start))
        assert steps == {3.0: 3, 2.0: 3, 1.0: 4 if len(balls) == 3 else 10}[round(float(ball.eps) / 0.25)]
        return plain(x, ball, steps=steps, rho=rho, start=start)

    monkeypatch.setattr(auto_step, "schedule", spied)
    x = torch.full((2, 1, 2, 2), 0.5)
    APGD(steps=10, largereps=large).perturb(x, make_attack(x, ball=Ball(norm, 0.25)))
    assert [eps for eps, _ in seen] == pytest.approx([0.25 * times for times in balls])
    assert all((start is not None) == (len(balls) == 3) for _, start in seen)
    with pytest.raises(UsageError, match="largereps = true is an attack in L1, but the threat's norm is L2"):
        phased(True, Ball("L2", 0.1))
    assert [phased(value, Ball("L1", 0.1)) for value in (None, True, False)] == [True, True, False]
    assert [phased(value, Ball("Linf", 0.1)) for value in (None, False)] == [False, False]


class Stepping:
    def __init__(self, model: Any, eps: float = 0.1, alpha: float = 0.02, steps: int = 3) -> None: ...


class Nearest:
    def __init__(self, model: Any, alpha: float = 0.02) -> None: ...


class Switched:
    def __init__(self, model: Any, eps: float = 0.1, alpha: Any = True, other: Any = None) -> None: ...


@pytest.mark.parametrize(("method", "options", "step", "wanted"), [
    (Stepping, None, "alpha", {"alpha": 0.04}), (Stepping, {"alpha": "2/255"}, "alpha", {"alpha": 4 / 255}),
    (Stepping, {"steps": 5}, "alpha", {"steps": 5, "alpha": 0.04}), (Stepping, None, "eps_step", None),
    (Nearest, None, "alpha", None), (Nearest, {"alpha": 0.1}, "alpha", None), (Switched, None, "alpha", None),
    (Switched, {"other": 1}, "other", {"other": 2.0}), (Switched, None, "other", None),
    (Switched, {"alpha": 3}, "alpha", {"alpha": 6.0}),
])  # fmt: skip
def test_the_step_of_a_library_grows_with_the_ball(method: Any, options: Any, step: str, wanted: Any) -> None:
    assert grown(method, options, step, 2.0) == ({} if wanted is None else {"options": wanted})


def test_options_of_libraries_are_numbers_and_rows_that_leave_stay() -> None:
    given = {"a": "2/255", "b": "cw", "c": 3, "d": None}
    assert numbers(given) == {"a": 2 / 255, "b": "cw", "c": 3, "d": None}
    assert numbers(None) == {}
    assert radius(Ball("L2", 0.5), "it") == radius(Ball("L2", torch.tensor([0.5, 0.5])), "it") == 0.5
    with pytest.raises(UsageError, match=r"it takes one eps, but the rows have 0\.1 to 0\.5: use the generator 'pgd'"):
        radius(Ball("L2", torch.tensor([0.5, 0.1])), "it")
    x = torch.zeros(4, 2, dtype=torch.float64)
    adv = torch.tensor([[0.5, 0.0], [0.5004, 0.0], [0.5006, 0.0], [9.0, 0.0]], dtype=torch.float64)
    assert within(adv, x, Ball("Linf", 0.5, None))[:, 0].tolist() == [0.5, 0.5004, 0.0, 0.0]
    each: Sequence[float] = within(adv, x, Ball("Linf", torch.tensor([0.1, 1.0, 1.0, 9.0]), None))[:, 0].tolist()
    assert each == [0.0, 0.5004, 0.5006, 9.0]


def test_blocks_of_a_ray_are_gone_through_level_by_level() -> None:
    """Of four values: the whole, two halves, then the four one by one, again and again; of three the last is short."""
    from robustcl_plugins.generators.rays import _Rays

    for width, wanted in (
        (4, [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (2, 3), (2, 0)]),
        (3, [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (2, 0)]), (1, [(0, 0), (0, 0)]),
    ):  # fmt: skip
        rays, seen = _Rays.begun(torch.full((1, width), 0.5), 1.0), []
        for _ in wanted:
            seen.append((int(rays.level), int(rays.block)))
            rays.learn(torch.tensor([False]), 0.001)
        assert seen == wanted


def test_a_ray_is_bisected_until_it_is_known_to_a_thousandth() -> None:
    """The wrong decision begins at 0.3 on the first ray: checked at the width, then halved ten times."""
    from robustcl_plugins.generators.rays import _Rays

    rays, ball, radii = _Rays.begun(torch.full((1, 1), 0.5), 1.0), Ball("Linf", 0.1), []
    for _ in range(11):
        _, radius = rays.candidates(ball)
        radii.append(float(radius))
        rays.learn(radius >= 0.3, 0.001)
    assert radii[:4] == [1.0, 0.5, 0.25, 0.375]
    assert 0.3 <= float(rays.radius) <= 0.301
    assert not bool(rays.bisecting)
    assert rays.ray.tolist() == [[-1.0]], "the first block is the whole ray, turned round"
    assert float(rays.nearest(ball)) == pytest.approx(0.4)
    assert float(_Rays.begun(torch.full((1, 1), 0.5), 1.0).nearest(ball)) == 0.5


def test_rows_without_a_verdict_are_left_alone_from_the_start() -> None:
    asked: list[int] = []

    def encode(x: Tensor, places: Tensor) -> Any:
        from robustcl.types import Embedding

        asked.append(len(x))
        logits = torch.stack([x.flatten(1).sum(1), 1 + 0 * x.flatten(1).sum(1)], 1)
        return Embedding(logits=torch.where((places == 0)[:, None], torch.tensor([torch.nan, 1.0]), logits))

    x = torch.full((2, 1, 2, 2), 0.5)
    attack = make_attack(x, label=torch.tensor([0, 0]), ball=Ball("Linf", 0.4)).but(
        encode=encode, fooled=None, breaks=None, clean=lambda places: encode(x[places], places)
    )
    moved = FAB(steps=3).perturb(x, attack)
    assert torch.equal(moved[0], x[0])
    assert float(moved[1].sum()) == pytest.approx(1.0, abs=0.1)
    assert set(asked[1:]) == {1}


def test_an_attack_has_what_its_oracle_answers_by_either_name() -> None:
    x = torch.full((2, 1, 2, 2), 0.5)
    attack = make_attack(x, frozenset())
    asked = {name: attack.has(name) for name in ("encode", "clean", "fooled", "objective", "breaks", "label", "target")}
    assert asked == {
        "encode": True, "clean": True, "fooled": True, "objective": False, "breaks": False, "label": True,
        "target": False,
    }  # fmt: skip
    mute = attack.but(verdict=None, target=torch.zeros(2, dtype=torch.int64))
    assert (attack.has("verdict"), mute.has("verdict"), mute.has("fooled")) == (True, False, False)
    assert mute.has("target")
    sure = attack.but(breaks=lambda candidates, places: places == 1, objective=lambda embedding, places: places)
    assert sure.take(torch.tensor([1])).breaks(x[1:]).tolist() == [True]
    assert sure.take(torch.tensor([1, 0])).objective(sure.clean()).tolist() == [1, 0]
    with pytest.raises(NeedNotMet, match=r"provides no 'objective' in its Oracle: add Need\.OBJECTIVE to the needs"):
        attack.objective(attack.clean())
    with pytest.raises(TypeError, match="'enocde'"):
        attack.but(enocde=None)
