"""Whose random numbers a search takes, which rows go on, and how Auto-PGD's schedules count: by hand, row by row."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from robustcl import search
from robustcl.errors import UsageError
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.types import Attack, Embedding, Oracle
from robustcl_plugins.generators import auto_step

X = torch.tensor([[0.5, 0.5], [0.4, 0.6], [0.3, 0.7], [0.6, 0.4]])
ROWS = torch.arange(4)
BALL = Ball("Linf", 0.2)


def rng() -> Rng:
    return Rng(5, "attack").for_rows(ROWS)


def attack_on(x: Tensor, wins: Tensor | None = None, ball: Ball = BALL, **more: Any) -> Attack:
    """Return an attack whose loss is the first entry; rows whose first entry is above ``wins`` (R,) are fooled."""
    limit = torch.full((len(x),), math.inf) if wins is None else wins
    return Attack(
        oracle=Oracle(
            encode=lambda candidates, places: Embedding(logits=candidates),
            objective=lambda embedding, places: embedding.logits[:, 0],
            clean=lambda places: Embedding(logits=x[places]),
            fooled=lambda embedding, places: embedding.logits[:, 0] > limit[places],
            **more,
        ),
        ball=ball,
        rng=rng().take(ROWS[: len(x)]),
        label=torch.zeros(len(x), dtype=torch.int64),
        index=ROWS[: len(x)],
        places=ROWS[: len(x)],
        separable=True,
    )


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
def test_the_first_start_is_of_the_attacks_own_stream(norm: str) -> None:
    ball = Ball(norm, 0.2)
    found = search.pursue(X, attack_on(X, ball=ball), steps=0, step_size=0.1)
    assert torch.equal(found, ball.sample(X, rng()))
    noisy = search.pursue(X, attack_on(X, ball=ball), steps=0, step_size=0.1, start="gaussian", deviation=0.01)
    assert torch.equal(noisy, ball.project(X + 0.01 * rng().normal(X.shape), X))
    assert torch.equal(search.pursue(X, attack_on(X, ball=ball), steps=0, step_size=0.1, start="none"), X)


def drawn_starts(count: int) -> list[Tensor]:
    return [BALL.sample(X, rng() if number == 0 else rng().child("restart", number)) for number in range(count)]


def test_restarts_are_drawn_from_streams_of_their_number_and_the_largest_loss_is_kept() -> None:
    starts = torch.stack(drawn_starts(4))
    best = starts[:, :, 0].argmax(0)
    assert len(set(best.tolist())) > 1, "the rows find theirs in different rounds"
    found = search.pursue(X, attack_on(X), steps=0, step_size=0.1, restarts=4)
    assert torch.equal(found, starts[best, ROWS])


def test_fooled_rows_leave_and_the_others_go_on_with_what_is_theirs() -> None:
    starts = torch.stack(drawn_starts(3))
    first, second = starts[0, :, 0], starts[1, :, 0]
    wins = torch.full((4,), math.inf)
    wins[1] = first[1] - 1e-3  # row 1 is fooled by its first start, row 2 by its second
    wins[2] = second[2] - 1e-3 if second[2] > first[2] else math.inf
    carried: list[list[int]] = []
    attack = attack_on(X, wins)

    def encode(candidates: Tensor, places: Tensor) -> Embedding:
        carried.append(places.tolist())
        return Embedding(logits=candidates)

    found = search.pursue(X, attack.but(encode=encode), steps=0, step_size=0.1, restarts=3)
    assert carried[:2] == [[0, 1, 2, 3], [0, 2, 3]]
    assert torch.equal(found[1], starts[0, 1])
    for row in (0, 3):
        assert torch.equal(found[row], starts[starts[:, row, 0].argmax(), row])


def test_a_row_that_is_fooled_is_returned_though_another_start_had_a_larger_loss() -> None:
    """The judge lets the first start of no row count and every second one, whatever the loss."""
    starts = torch.stack(drawn_starts(2))
    asked: list[int] = []

    def verdict(embedding: Embedding, places: Tensor) -> Tensor:
        asked.append(len(places))
        return torch.full((len(places),), len(asked) > 1)

    attack = attack_on(X).but(fooled=verdict)
    assert torch.equal(search.pursue(X, attack, steps=0, step_size=0.1, restarts=2), starts[1])
    assert asked == [4, 4]


def test_climbs_of_several_starts_keep_rows_or_whole_batches() -> None:
    source = rng()
    stacked = torch.stack([BALL.sample(X, source) for _ in range(3)])

    def gain(v: Tensor) -> Tensor:
        return v[:, 0]

    each = search.ascend(X, gain, BALL, steps=0, step_size=0.1, rng=rng(), restarts=3)
    assert torch.equal(each, stacked[stacked[:, :, 0].argmax(0), ROWS])
    whole = search.ascend(X, gain, BALL, steps=0, step_size=0.1, rng=rng(), restarts=3, separable=False)
    assert torch.equal(whole, stacked[stacked[:, :, 0].sum(1).argmax()])


def test_rows_take_as_many_steps_as_are_theirs() -> None:
    steps, length = torch.tensor([0, 1, 3, 2]), torch.tensor([0.05, 0.05, 0.01, 0.5])
    found = search.ascend(X, lambda v: v[:, 0], BALL, steps=steps, step_size=length, rng=rng(), start="none")
    expected = X[:, 0] + torch.tensor([0.0, 0.05, 0.03, 0.2])
    torch.testing.assert_close(found, torch.stack([expected, X[:, 1]], 1))


@pytest.mark.parametrize(("count", "kept"), [
    (0, 1), (1, 1), (2, 2), (3, 2), (4, 3), (5, 4), (6, 4), (7, 5), (100, 67), (3072, 2048),
])  # fmt: skip
def test_two_thirds_rounded_up_and_one_at_least(count: int, kept: int) -> None:
    assert auto_step._two_thirds(torch.tensor([count])).tolist() == [kept]


def test_a_point_of_no_change_leaves_one_entry_to_step_along() -> None:
    """After it was looked at the point equals x: a single entry is moved, and not two."""
    x = torch.zeros(1, 20)
    steps = auto_step.schedule(x, Ball("L1", 1.0, None), steps=25)
    back = steps.adapt(1, x[:, 0], x, x[:, 0])
    assert back is not None
    assert back.tolist() == [True]
    moved = steps.move(x, torch.arange(1.0, 21.0)[None])
    assert moved[0].nonzero().flatten().tolist() == [19]
    begun = auto_step.schedule(x, Ball("L1", 1.0, None), steps=25, start=x)
    assert int((begun.move(x, torch.arange(1.0, 21.0)[None]) != 0).sum()) == 1


@pytest.mark.parametrize(("steps", "looks"), [(1, [1]), (24, [1, 2, 3]), (25, [1, 2, 3]), (50, [2, 4]), (100, [4, 8])])
def test_sparsity_is_looked_at_every_twenty_fifth_of_the_steps(steps: int, looks: list[int]) -> None:
    x = torch.zeros(1, 4)
    plan = auto_step.schedule(x, Ball("L1", 1.0, None), steps=steps)
    told = [done for done in range(9) if plan.adapt(done, x[:, 0], x + 1, x[:, 0]) is not None]
    assert told[: len(looks)] == looks


@pytest.mark.parametrize(("norm", "order"), [("Linf", math.inf), ("L2", 2.0)])
def test_starts_touch_the_ball(norm: str, order: float) -> None:
    x = torch.full((4, 1, 3, 3), 0.5)
    eps = torch.tensor([0.1, 0.2, 0.3, 0.0])
    moved = (auto_step.start(x, Ball(norm, eps, None), rng()) - x).flatten(1)
    assert torch.linalg.vector_norm(moved, order, dim=1).tolist() == pytest.approx(eps.tolist(), abs=1e-6)
    noise = (rng().uniform(x.shape, -1.0, 1.0) if norm == "Linf" else rng().normal(x.shape)).flatten(1)
    unit = noise / torch.linalg.vector_norm(noise, order, dim=1, keepdim=True)
    torch.testing.assert_close(moved, unit * eps[:, None], rtol=0, atol=1e-6)
    bounded = auto_step.start(x, Ball(norm, 0.7), rng())
    assert float(bounded.min()) >= 0.0
    assert float(bounded.max()) <= 1.0


def test_the_start_of_l1_is_projected_noise() -> None:
    ball = Ball("L1", 0.3)
    assert torch.equal(auto_step.start(X, ball, rng()), ball.project(X + rng().normal(X.shape), X))


@pytest.mark.parametrize("norm", ["Linf", "L1"])
def test_rows_that_are_taken_go_on_as_they_would_among_the_others(norm: str) -> None:
    x = torch.linspace(0.2, 0.8, 4 * 6).view(4, 6)
    ball = Ball(norm, torch.tensor([0.1, 0.2, 0.3, 0.4]))
    kept = torch.tensor([0, 2, 3])

    def run(leave_at: int | None) -> Tensor:
        plan, rows, adv, best, best_loss = auto_step.schedule(x, ball, steps=50), ROWS, x, x, torch.full((4,), -9.0)
        for done in range(30):
            if done == leave_at:
                plan.take(kept)
                rows, adv, best, best_loss = (value[kept] for value in (rows, adv, best, best_loss))
            loss = torch.sin(adv.sum(1) * 40 + rows)
            better = loss > best_loss
            best, best_loss = torch.where(better[:, None], adv, best), torch.where(better, loss, best_loss)
            back = plan.adapt(done, loss, best, best_loss)
            adv = adv if back is None else torch.where(back[:, None], best, adv)
            adv = plan.move(adv, torch.cos(adv * 7 + rows[:, None]))
        return adv

    whole = run(None)[kept]
    for leave_at in (0, 1, 11, 12, 21):
        torch.testing.assert_close(run(leave_at), whole, rtol=1e-5, atol=1e-6)


def test_steps_are_halved_row_by_row() -> None:
    """At the first checkpoint, after 3 of 10 steps, more than two of three steps must have climbed, or the step is 1/2.

    Row 0 climbs three times, row 1 twice, row 2 never, though its first loss stands; row 3 climbs from below itself.
    """
    x = torch.zeros(4, 2)
    plan = auto_step.schedule(x, Ball("Linf", torch.tensor([1.0, 2.0, 3.0, 4.0]), None), steps=10)
    losses = torch.tensor([[0, 1, 2, 3], [0, 1, 2, 2], [0, -1, -1, -1], [0, -3, -2, -1]], dtype=torch.float32)
    back = None
    for done in range(4):
        back = plan.adapt(done, losses[:, done], x, losses[:, : done + 1].amax(1))
        assert (back is None) == (done < 3)
    assert back is not None
    assert back.tolist() == [False, True, True, True]
    assert plan.step.tolist() == [2.0, 2.0, 3.0, 4.0]  # type: ignore[attr-defined]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_sparse_step_by_hand(dtype: torch.dtype) -> None:
    """Four changed entries make three to step along, by a third of eps each, whatever their signs."""
    x = torch.zeros(2, 1, 2, 2, dtype=dtype)
    slope = torch.tensor([[-4.0, 1.0, 3.0, -2.0], [0.0, 0.0, 0.0, 0.0]], dtype=dtype).view_as(x)
    plan = auto_step.schedule(x, Ball("L1", 1.0, None), steps=50, start=x + 1)
    moved = plan.move(x, slope)
    third = 1 / 3
    expected = torch.tensor([[-third, 0.0, third, -third], [0.0] * 4], dtype=dtype).view_as(x)
    torch.testing.assert_close(moved, expected)
    torch.testing.assert_close(plan.move(moved, slope), expected, msg="twice as far is projected back")
    torch.testing.assert_close(plan.move(moved, -slope), torch.zeros_like(x), rtol=0, atol=1e-7)
    first = auto_step.schedule(x, Ball("L1", 1.0, None), steps=50).move(x, slope)  # a fifth of four is one
    assert first.flatten().tolist() == [-1.0, *[0.0] * 7]


@pytest.mark.parametrize(("before", "left", "back"), [
    (400, 379, True), (400, 380, False), (200, 189, True), (200, 190, False), (200, 380, False),
])  # fmt: skip
def test_a_twentieth_is_of_the_entries_that_were_changed_before(before: int, left: int, back: bool) -> None:
    x, numbers = torch.zeros(1, 400), torch.arange(400)
    plan = auto_step.schedule(x, Ball("L1", 1.0, None), steps=25, start=x + (numbers < before))
    found = plan.adapt(1, x[:, 0], x + (numbers < left), x[:, 0])
    assert found is not None
    assert found.tolist() == [back]


def test_momentum_by_hand() -> None:
    """From (1, -2) to the corner (10, 10), and on toward (-10, 10) by 3/4, and 1/4 of the last move, (9, 12)."""
    x = torch.zeros(1, 2)
    plan = auto_step.schedule(x, Ball("Linf", 10.0, None), steps=100)
    first = plan.move(torch.tensor([[1.0, -2.0]]), torch.tensor([[1.0, 1.0]]))
    assert first.tolist() == [[10.0, 10.0]]
    assert plan.move(first, torch.tensor([[-1.0, 1.0]])).tolist() == [[10.0 - 15.0 + 2.25, 10.0]]


@pytest.mark.parametrize(("losses", "halved"), [
    ([0, 1, 2, 3, 4, 5, 6], [False, False, False]),  # looked at after 3, 5 and 6 of ten steps
    ([0, 1, 2, 3, 4, 3, 9], [False, True, False]),  # one of two is too few
    ([0, -3, 1, 2, 3, 4, 3], [True, False, True]),  # two of three, then two of two, then none of one
    ([0, -1, -2, -3, -2, -1, -1], [True, False, True]),  # none has risen above the start: but it has just been halved
])  # fmt: skip
def test_climbs_are_counted_from_checkpoint_to_checkpoint(losses: list[float], halved: list[bool]) -> None:
    x, told, loss = torch.zeros(1, 2), [], torch.tensor(losses, dtype=torch.float32)
    plan = auto_step.schedule(x, Ball("Linf", 1.0, None), steps=10)
    for done in range(7):
        back = plan.adapt(done, loss[done : done + 1], x, loss[: done + 1].amax(0, keepdim=True))
        if back is not None:
            told.append(bool(back))
    assert told == halved
    assert float(plan.step) == 2.0 / 2 ** sum(halved)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("dtype", "drawn", "digits"), [
    (torch.float64, torch.float64, 1e-12), (torch.float32, torch.float32, 1e-6), (torch.float16, torch.float32, 1e-3),
])  # fmt: skip
@pytest.mark.parametrize(("norm", "order"), [("Linf", math.inf), ("L2", 2.0)])
def test_starts_are_drawn_and_stretched_in_single_or_double(
    norm: str, order: float, dtype: torch.dtype, drawn: torch.dtype, digits: float
) -> None:
    x = torch.zeros(4, 3, dtype=dtype)
    noise = rng().uniform(x.shape, -1.0, 1.0, dtype=drawn) if norm == "Linf" else rng().normal(x.shape, dtype=drawn)
    unit = noise / torch.linalg.vector_norm(noise, order, dim=1, keepdim=True)
    found = auto_step.start(x, Ball(norm, 0.1, None), rng())
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), 0.1 * unit.double(), rtol=digits, atol=digits)
    nothing = torch.zeros(1, 3, dtype=drawn)
    assert auto_step._stretched(nothing, nothing[:, 0], x[:1], Ball(norm, 0.1, None)).tolist() == [[0.0] * 3]


@pytest.mark.parametrize("start", ["uniform", "none"])
def test_what_a_search_finds_has_no_graph(start: Any) -> None:
    x = X.clone().requires_grad_()
    found = search.ascend(x, lambda v: v[:, 0], BALL, steps=0, step_size=0.1, rng=rng(), start=start)
    assert not found.requires_grad
    assert not search.pursue(x, attack_on(x), steps=0, step_size=0.1, start=start).requires_grad


def test_a_single_start_is_not_scored_and_each_of_several_is_once() -> None:
    for restarts, scored in ((1, 0), (2, 2), (3, 3)):
        seen: list[bool] = []

        def gain(v: Tensor, seen: list[bool] = seen) -> Tensor:
            seen.append(torch.is_grad_enabled())
            return v[:, 0]

        search.ascend(X, gain, BALL, steps=0, step_size=0.1, rng=rng(), restarts=restarts)
        assert seen == [False] * scored
        seen.clear()
        attack = attack_on(X).but(
            encode=lambda v, places, seen=seen: (seen.append(torch.is_grad_enabled()), Embedding(logits=v))[1]
        )
        search.pursue(X, attack, steps=0, step_size=0.1, restarts=restarts)
        assert seen == [False] * scored
    for again in (2, 5):
        said = f"^{again} restarts from x itself are all the same"
        with pytest.raises(UsageError, match=said):
            search.ascend(X, lambda v: v[:, 0], BALL, steps=1, step_size=0.1, rng=rng(), start="none", restarts=again)
        with pytest.raises(UsageError, match=said):
            search.pursue(X, attack_on(X), steps=1, step_size=0.1, start="none", restarts=again)


def test_double_precision_is_pursued_too() -> None:
    x = X.double()
    found = search.pursue(x, attack_on(x), steps=0, step_size=0.1, restarts=3)
    starts = torch.stack(
        [BALL.sample(x, rng() if number == 0 else rng().child("restart", number)) for number in range(3)]
    )
    assert found.dtype == torch.float64
    assert torch.equal(found, starts[starts[:, :, 0].argmax(0), ROWS])
