"""The ball, its readers and the ascents exactly at their boundaries, and random streams that differ where they must."""

from __future__ import annotations

import math

import pytest
import torch

from robustcl import gradients
from robustcl.errors import UsageError
from robustcl.rng import Rng
from robustcl.search import ascend, step_length
from robustcl.threat import Ball
from robustcl.threat.newton import scaled_to_length, thresholded_to_length
from robustcl.threat.shrink import shrink_l1, shrink_l2
from robustcl_plugins.generators import auto_step
from robustcl_plugins.generators.hyperplane import shortest_move

TINY = torch.finfo(torch.float32).tiny


def test_a_radius_as_wide_as_the_range_is_a_ball_and_a_wider_one_is_none() -> None:
    assert Ball.checked("Linf", 1.0).eps == 1.0
    assert Ball.checked("L2", 1.5).eps == 1.5
    assert Ball.checked("Linf", 1.5, (-1.0, 1.0)).eps == 1.5
    for radius, words in ((1.0001, "write 1.0001/255"), (255.0, "write 255/255"), (255.5, "choose a smaller eps")):
        with pytest.raises(UsageError, match=words):
            Ball.checked("Linf", radius)


def test_the_least_radius_is_float32s_and_none_is_one_too() -> None:
    assert Ball.checked("L2", 0).eps == 0.0
    assert Ball.checked("L2", TINY).eps == TINY
    with pytest.raises(UsageError, match="too small for float32"):
        Ball.checked("L2", TINY / 2)


@pytest.mark.parametrize("ends", [
    (0.0, 0.0), (1.0, 0.0), (0.0, math.inf), (-math.inf, 1.0), (math.nan, 1.0), (False, True), (0,), (0, 1, 2), "01", 1,
])  # fmt: skip
def test_what_is_no_range(ends: object) -> None:
    with pytest.raises(UsageError, match="write"):
        Ball.checked("Linf", 0.1, ends)  # type: ignore[arg-type]


def test_both_ends_of_the_range_are_valid_and_a_millionth_of_eps_is_forgiven() -> None:
    x = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    ball = Ball("Linf", 1.0)
    assert bool(ball.contains(torch.tensor([[1.0, 0.0]], dtype=torch.float64), x))
    around = torch.full((1, 4), 0.5, dtype=torch.float64)
    for norm, reach in (("Linf", 1.0), ("L2", 2.0), ("L1", 4.0)):
        for more, inside in ((5e-7, True), (3e-6, False)):
            moved = around + 0.1 * (1 + more) / reach
            assert bool(Ball(norm, 0.1, None).contains(moved, around)) == inside


def test_the_rounding_that_is_forgiven_grows_with_the_inputs() -> None:
    """One unit of float32 at 100 is 1.2e-5: a move of eps and 0.9 of that is inside, one of eps and 2 is not."""
    unit = 100 * torch.finfo(torch.float32).eps
    x = torch.tensor([[100.0, 0.0]])
    for more, inside in ((0.9, True), (2.0, False)):
        assert bool(Ball("Linf", 1e-3, None).contains(x + torch.tensor([[0.0, 1e-3 + more * unit]]), x)) == inside
    for more, inside in ((1.8, True), (3.0, False)):  # ... and of two entries it is twice that in L1
        assert bool(Ball("L1", 1e-3, None).contains(x + torch.tensor([[0.0, 1e-3 + more * unit]]), x)) == inside


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
def test_inputs_that_do_not_fit_are_told_apart_in_the_order_in_which_they_are_given(norm: str) -> None:
    ball, two, three = Ball(norm, 0.5), torch.zeros(2, 2), torch.zeros(2, 3)
    for call in (
        lambda: ball.project(three, two), lambda: ball.ascend(two, three, 0.1), lambda: ball.distance(three, two),
        lambda: ball.contains(three, two),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=r"inputs of shapes \(2, 2\) and \(2, 3\) differ: give row for row"):
            call()
    for wrong in (torch.zeros(2, 2, dtype=torch.int64), torch.zeros(2), [[0.0]]):
        with pytest.raises(UsageError, match="are no batch"):
            ball.sample(wrong, Rng(0))  # type: ignore[arg-type]
    for radii in (1, 2):
        assert Ball(norm, torch.full((radii,), 0.5)).distance(two, two).tolist() == [0.0, 0.0]
    with pytest.raises(UsageError, match="3 radii do not fit 2 rows"):
        Ball(norm, torch.full((3,), 0.5)).distance(two, two)


def test_distances_by_hand() -> None:
    x, moved = torch.zeros(2, 3), torch.tensor([[3.0, -4.0, 0.0], [0.0, 0.0, -2.0]])
    for norm, expected in (("Linf", [4.0, 2.0]), ("L2", [5.0, 2.0]), ("L1", [7.0, 2.0])):
        assert Ball(norm, 1.0, None).distance(moved, x).tolist() == expected


def test_a_sparse_step_takes_the_next_entry_only_where_room_is_short() -> None:
    """The room of the first entry, 0.25, is exactly the step: the second one stays."""
    ball, adv = Ball("L1", 1.0), torch.tensor([[0.75, 0.5, 0.5]])
    assert ball.ascend(adv, torch.tensor([[3.0, 2.0, 1.0]]), 0.25).tolist() == [[1.0, 0.5, 0.5]]
    moved = ball.ascend(adv, torch.tensor([[3.0, 2.0, 1.0]]), 0.5)
    assert moved[0].tolist() == pytest.approx([0.75 + 0.3, 0.5 + 0.2, 0.5])


def test_projections_on_the_border_change_nothing() -> None:
    x = torch.full((2, 4), 0.5, dtype=torch.float64)
    for norm, adv in (("L2", x + 0.25), ("L1", x + 0.125)):
        assert torch.equal(Ball(norm, 0.5).project(adv, x), adv)
    corner = torch.tensor([[1.0, 0.0, 1.0, 0.5]], dtype=torch.float64)
    assert torch.equal(shrink_l2(corner, x[:1], 10.0, (0.0, 1.0)), corner)
    assert torch.equal(shrink_l1(corner, x[:1], 1.5, (0.0, 1.0)), corner)


def test_sizes_by_hand() -> None:
    """At the scale of a half one entry of 3 and 4 is full at 1, and 1.5 and 1 have length 3.25^0.5; 6 is cut to 3."""
    size, eps = torch.tensor([[3.0, 4.0]], dtype=torch.float64), torch.tensor([[3.25**0.5]], dtype=torch.float64)
    room = torch.tensor([[9.0, 1.0]], dtype=torch.float64)
    assert scaled_to_length(size, room, eps)[0].tolist() == pytest.approx([1.5, 1.0], rel=1e-12)
    sizes = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    cut = thresholded_to_length(sizes, sizes, torch.tensor([[3.0]], dtype=torch.float64))
    assert cut[0].tolist() == pytest.approx([0.0, 1.0, 2.0], abs=1e-12)


def test_a_plane_that_is_met_where_an_entry_is_just_full() -> None:
    points, normal = torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 1.0]])
    for norm in ("Linf", "L2"):
        assert shortest_move(points, normal, torch.tensor([1.0]), norm, (0.0, 1.0)).tolist() == [[-0.5, -0.5]]
    assert shortest_move(points, torch.tensor([[2.0, 1.0]]), torch.tensor([1.0]), "L1", (0.0, 1.0)).tolist() == [
        [-0.5, 0.0]
    ]


def test_a_step_of_any_length_is_a_quarter_of_eps_when_left_out() -> None:
    assert step_length(None, Ball("L2", 2.0)) == 0.5
    assert step_length(0.0, Ball("L2", 2.0)) == 0.0


def test_restarts_draw_anew_and_rows_keep_the_best_of_theirs() -> None:
    """The objective is largest near a point of each row; the starts alone decide, for no step is taken."""
    x, goal = torch.zeros(64, 2), torch.tensor([0.4, 0.4])
    ball = Ball("Linf", 0.5, None)

    def near(adv: torch.Tensor) -> torch.Tensor:
        return -(adv - goal).square().sum(1)

    values = [
        near(ascend(x, near, ball, steps=0, step_size=0.1, rng=Rng(0, "starts"), restarts=count)) for count in (1, 2, 8)
    ]
    assert bool((values[1] >= values[0]).all())
    assert bool((values[2] >= values[1]).all())
    assert int((values[1] > values[0]).sum()) > 16
    assert int((values[2] > values[1]).sum()) > 32


def test_ties_between_restarts_keep_the_first() -> None:
    x, ball = torch.zeros(4, 3), Ball("Linf", 0.5, None)

    def flat(adv: torch.Tensor) -> torch.Tensor:
        return adv.sum(1) * 0.0

    first = ascend(x, flat, ball, steps=0, step_size=0.1, rng=Rng(0, "ties"))
    assert torch.equal(ascend(x, flat, ball, steps=0, step_size=0.1, rng=Rng(0, "ties"), restarts=3), first)


def test_streams_differ_by_every_part_of_their_key_and_by_the_number_of_the_draw() -> None:
    keys: list[tuple[str | int, ...]] = [
        (0, "a"),
        (1, "a"),
        (0, "b"),
        (0, "a", 0),
        (0, "a", 1),
        (0, "a", "0"),
        (0, "a0"),
    ]
    drawn = [tuple(Rng(int(seed), *path).uniform((4,)).tolist()) for seed, *path in keys]
    assert len(set(drawn)) == len(keys)
    rng = Rng(0, "a")
    assert rng.uniform((4,)).tolist() != rng.uniform((4,)).tolist()
    assert rng.permutation(9).tolist() != rng.permutation(9).tolist()
    assert rng.seed() != rng.seed()
    assert rng.generator().initial_seed() != rng.generator().initial_seed()
    assert rng.child("x").key != rng.child("y").key
    parent, child = Rng(0, "a").uniform((4,)), Rng(0, "a").child("a").uniform((4,))
    assert parent.tolist() != child.tolist()


def test_rows_have_streams_of_their_own_wherever_they_stand() -> None:
    rng = Rng(0, "rows")
    rows = rng.for_rows(torch.tensor([7, 2, 7, 5]))
    drawn = rows.uniform((4, 3))
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
    again = rng.for_rows(torch.tensor([5, 7]))
    assert torch.equal(again.uniform((2, 3)), drawn[[3, 0]])
    taken = rows.take(torch.tensor([1]))
    assert torch.equal(taken.uniform((1, 3)), rows.uniform((4, 3))[[1]])
    assert not torch.equal(rng.child("b").for_rows(torch.tensor([7])).uniform((1, 3)), drawn[:1])
    with pytest.raises(ValueError, match="a stream of 4 rows cannot draw"):
        rows.uniform((3, 3))
    with pytest.raises(ValueError, match="a stream of 4 rows cannot draw"):
        rows.uniform(())


def test_draws_have_the_moments_of_their_kind() -> None:
    uniform = Rng(0, "moments").uniform((40_000,), -1.0, 3.0, dtype=torch.float64)
    assert uniform.min() >= -1.0
    assert uniform.max() < 3.0
    assert uniform.mean().item() == pytest.approx(1.0, abs=0.03)
    assert uniform.var().item() == pytest.approx(16 / 12, abs=0.03)
    normal = Rng(0, "moments").normal((40_000,))
    assert normal.mean().item() == pytest.approx(0.0, abs=0.03)
    assert normal.var().item() == pytest.approx(1.0, abs=0.03)
    whole = Rng(0, "moments").integers(5, (40_000,))
    assert torch.bincount(whole, minlength=5).div(40_000).tolist() == pytest.approx([0.2] * 5, abs=0.01)
    assert sorted(Rng(0, "moments").permutation(50).tolist()) == list(range(50))


def test_a_lost_row_steps_by_the_same_signs_and_the_others_as_they_would() -> None:
    at = torch.tensor([[4.0, 0.0], [0.0, 0.0], [1.0, 9.0]], requires_grad=True)
    with gradients.listen(3) as tally:
        found = gradients.toward(at.sqrt().sum(1), at)
    assert tally.broken.tolist() == [True, True, False]
    assert found[0].tolist() == [0.25, 0.0]
    assert found[1].abs().tolist() == [1.0, 1.0]
    assert found[2].tolist() == pytest.approx([0.5, 1 / 6])
    again = gradients.toward(at.sqrt().sum(1), at)
    assert torch.equal(again, found)


def test_weights_and_graphs_of_a_gradient() -> None:
    at = torch.tensor([[1.0], [2.0]], requires_grad=True)
    value = at.square().sum(1)
    weighted = gradients.toward(value, at, weights=torch.tensor([1.0, 3.0]), again=True)
    assert weighted.tolist() == [[2.0], [12.0]]
    assert gradients.toward(value, at).tolist() == [[2.0], [4.0]]
    with pytest.raises(UsageError, match="have no gradient toward its inputs"):
        gradients.toward(value, at)


@pytest.mark.parametrize(("steps", "expected"), [
    (1, (1,)), (10, (3, 5, 6, 7, 8, 9, 10)), (100, (22, 41, 57, 70, 80, 87, 93, 99)),
])  # fmt: skip
def test_checkpoints(steps: int, expected: tuple[int, ...]) -> None:
    assert auto_step.checkpoints(steps) == expected


@pytest.mark.parametrize(("steps", "expected"), [
    (1, ((1.0, 1),)), (4, ((3.0, 1), (2.0, 1), (1.0, 2))), (100, ((3.0, 30), (2.0, 30), (1.0, 40))),
])  # fmt: skip
def test_phases(steps: int, expected: tuple[tuple[float, int], ...]) -> None:
    assert auto_step.budgets(steps) == expected


@pytest.mark.parametrize(("entries", "first"), [(5, 1), (6, 2), (20, 4), (21, 5)])
def test_sparse_steps_begin_with_a_fifth_of_the_entries(entries: int, first: int) -> None:
    x, gradient = torch.zeros(1, entries), torch.arange(1.0, entries + 1)[None]
    steps = auto_step.schedule(x, Ball("L1", 1.0, None), steps=50)
    moved = steps.move(x, gradient)
    assert int((moved != 0).sum()) == first
    assert moved[0, -first:].tolist() == pytest.approx([1 / first] * first)


def test_sparse_steps_go_on_from_a_point_found_before() -> None:
    """Seven of the entries were changed: two thirds of them, rounded up, are five."""
    x = torch.zeros(1, 20)
    found = x + (torch.arange(20) < 7)
    moved = auto_step.schedule(x, Ball("L1", 1.0, None), steps=50, start=found).move(x, torch.arange(1.0, 21.0)[None])
    assert int((moved != 0).sum()) == 5


@pytest.mark.parametrize(("left", "step"), [(19, 1 / 1.5), (20, 1 / 1.5), (18, 1.0)])
def test_a_sparse_row_goes_back_where_its_best_point_lost_over_a_twentieth(left: int, step: float) -> None:
    x = torch.zeros(1, 20)
    steps = auto_step.schedule(x, Ball("L1", 1.0, None), steps=50)
    best = x + (torch.arange(20) < left)
    assert steps.adapt(0, x[:, 0], best, x[:, 0]) is None
    assert steps.adapt(1, x[:, 0], best, x[:, 0]) is None, "of fifty steps every second one is looked at"
    back = steps.adapt(2, x[:, 0], best, x[:, 0])
    assert back is not None
    assert back.tolist() == [left < 19]
    assert float(steps.step) == pytest.approx(step)  # type: ignore[attr-defined]
    for done in range(4, 30, 2):
        steps.adapt(done, x[:, 0], best, x[:, 0])
    assert float(steps.step) == pytest.approx(0.1), "no shorter than a tenth of eps"  # type: ignore[attr-defined]


def test_a_step_is_halved_where_fewer_than_three_of_four_climb() -> None:
    """The first checkpoint of a hundred steps is after 22: 17 of them must climb, 16.5 would be enough by the rule."""
    for climbs, halved in ((16, True), (17, False)):
        x = torch.zeros(1, 4)
        steps = auto_step.schedule(x, Ball("Linf", 0.5, None), steps=100)
        losses = [0.0, *[float(k) for k in range(1, climbs + 1)], *[-1.0] * (22 - climbs)]
        for done, loss in enumerate(losses):
            best = torch.tensor([max(losses[: done + 1])])
            back = steps.adapt(done, torch.tensor([loss]), x, best)
            assert (back is None) == (done != 22)
        assert back is not None
        assert back.tolist() == [halved]
        assert float(steps.step) == (0.5 if halved else 1.0)  # type: ignore[attr-defined]


def test_a_row_that_has_not_improved_is_halved_unless_it_just_was() -> None:
    x = torch.zeros(1, 4)
    steps = auto_step.schedule(x, Ball("Linf", 0.5, None), steps=100, rho=0.0)
    told = []
    for done in range(60):
        back = steps.adapt(done, torch.tensor([0.0]), x, torch.tensor([0.0]))
        if back is not None:
            told.append((done, bool(back[0]), float(steps.step)))  # type: ignore[attr-defined]
    assert told == [(22, True, 0.5), (41, False, 0.5), (57, True, 0.25)]


def test_momentum_is_a_quarter_of_the_last_move() -> None:
    x, ball = torch.zeros(1, 2), Ball("Linf", 10.0, None)
    steps = auto_step.schedule(x, ball, steps=100)
    first = steps.move(x, torch.tensor([[1.0, -1.0]]))
    assert first.tolist() == [[10.0, -10.0]]
    at = torch.tensor([[1.0, 1.0]])
    second = steps.move(at, torch.tensor([[-1.0, 1.0]]))
    # From (1, 1) twenty to the left ends at the ball's -10: 1 + 0.75 * (-11) + 0.25 * 1.
    assert second.tolist() == [[1 - 8.25 + 0.25, 1 + 6.75 + 0.25]]


@pytest.mark.parametrize("norm", ["L2", "L1"])
@pytest.mark.parametrize("size", [1.0, 1e3, 1e-3])
def test_what_was_projected_stays_where_it_is_whatever_the_size_of_the_inputs(norm: str, size: float) -> None:
    """Entries of 1,000 are rounded to 1e-13: so far a point of the sphere may seem to be outside of it."""
    x = size * (2 * Rng(0, "x").uniform((500, 12), dtype=torch.float64) - 1)
    adv = x + size * Rng(0, "move").normal((500, 12), dtype=torch.float64)
    ball = Ball(norm, 0.5 * size, None)
    once = ball.project(adv, x)
    # In L2 the move is added once more, which may round otherwise: by one unit of the largest entry.
    unit = 0.0 if norm == "L1" else 2.0 * size * torch.finfo(torch.float64).eps
    assert float((ball.project(once, x) - once).abs().max()) <= unit
    lengths = ball.distance(once, x)
    assert float((lengths / (0.5 * size) - 1).abs().max()) < 1e-12


def test_who_may_give_a_radius_for_each_row_is_told_of_it() -> None:
    with pytest.raises(UsageError, match="write one number for all rows, or a ratio"):
        Ball.checked("L2", [0.1, 0.2])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"write one number for all rows or a tensor \(R,\) of floats, or a ratio"):
        Ball("L2", [0.1, 0.2])  # type: ignore[arg-type]
