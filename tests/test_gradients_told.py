"""What is told of an attack's gradients, row by row, and the searches' numbers that no other test counts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from robustcl import gradients, search
from robustcl.errors import UsageError
from robustcl.gradients import Tally
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl_plugins.generators import auto_step


def bools(*rows: int, of: int) -> Tensor:
    return torch.isin(torch.arange(of), torch.tensor(rows, dtype=torch.int64))


def test_rows_are_noted_where_they_stand_and_never_forgotten() -> None:
    tally = Tally(4)
    assert (tally.broken.tolist(), tally.flat.tolist(), tally.asked) == ([False] * 4, [False] * 4, False)
    tally.note(torch.tensor([True, False]), torch.tensor([3, 1]))
    tally.note(torch.tensor([False, True]), torch.tensor([3, 0]))
    tally.note(bools(2, of=4), None)
    assert tally.broken.tolist() == [True, False, True, True]
    assert not tally.asked
    other = Tally(4)
    other.note(torch.tensor([True, True]), None)  # two rows of four, and nobody knows which
    assert not other.broken.any()


def test_who_was_asked_for_and_led_nowhere_is_flat() -> None:
    tally = Tally(4)
    tally.note_slopes(torch.tensor([[0.0, 0.0], [0.0, -1e-30]]), torch.tensor([2, 0]))
    assert tally.asked
    assert tally.flat.tolist() == [False, False, True, False]
    tally.note_slopes(torch.tensor([[0.0, 0.0]]), torch.tensor([0]))
    assert tally.flat.tolist() == [False, False, True, False], "it led somewhere once"
    tally.note_slopes(torch.tensor([[[1.0]]]), torch.tensor([2]))
    assert not tally.flat.any()
    assert not tally.broken.any()


def leaf(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, requires_grad=True)


def root(at: Tensor, places: Tensor | None = None) -> Tensor:
    return gradients.toward(at.sqrt().sum(1), at, places)


def test_whoever_runs_the_attack_hears_of_it_and_nobody_else() -> None:
    with gradients.listen(5) as outer:
        root(leaf([0.0, 4.0], [1.0, 1.0]), torch.tensor([4, 2]))
        with gradients.listen(2) as inner:
            root(leaf([1.0, 1.0], [0.0, 0.0]))
        root(leaf([0.0, 1.0]), torch.tensor([0]))
    root(leaf([0.0, 1.0]), torch.tensor([1]))
    assert outer.broken.tolist() == [True, False, False, False, True]
    assert inner.broken.tolist() == [False, True]
    assert not outer.flat.any()
    assert not inner.flat.any(), "a step at random leads somewhere"
    with pytest.raises(ZeroDivisionError), gradients.listen(1) as failed:
        raise ZeroDivisionError
    root(leaf([0.0, 1.0]))
    assert not failed.broken.any()


def test_entries_that_are_not_finite_count_as_0_and_lost_rows_step_by_signs() -> None:
    at = leaf([4.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 9.0, 0.0], [1.0, 1.0, 1.0])
    found = root(at)
    assert found[0].tolist() == [0.25, 0.0, 0.5]
    assert found[1].abs().tolist() == [1.0, 1.0, 1.0]
    assert found[2].tolist() == pytest.approx([0.0, 1 / 6, 0.0])
    assert found[3].tolist() == [0.5] * 3
    signs = Rng(0, "gradients", "lost").uniform((3,), -1.0, 1.0).sign()
    assert torch.equal(found[1], signs), "the same for every row, batch and run"
    part = gradients.toward((at[:, :1].sqrt() + 0 * at[:, 1:].sum(1, keepdim=True)).sum(1), at)
    assert part[1].tolist() == [float(signs[0]), 0.0, 0.0], "what is finite stays as it is"


def test_the_gradient_of_a_table_is_that_of_its_sum() -> None:
    at = leaf([1.0, 2.0])
    assert gradients.toward(at.square(), at).tolist() == [[2.0, 4.0]]
    assert gradients.toward(3 * at.sum(), at).tolist() == [[3.0, 3.0]]


class Broken(torch.autograd.Function):
    error: BaseException = RuntimeError("no way back")

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:  # type: ignore[override]
        return x.clone()

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:  # type: ignore[override]
        raise Broken.error


def test_errors_of_a_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    for error, kind, words in (
        (RuntimeError("no way back"), UsageError, r"no gradient toward its inputs \(RuntimeError: no way back\)"),
        (UsageError("said on purpose"), UsageError, "^said on purpose$"),
        (torch.OutOfMemoryError("full"), torch.OutOfMemoryError, "full"),
    ):
        monkeypatch.setattr(Broken, "error", error)
        at = leaf([1.0])
        with pytest.raises(kind, match=words):
            gradients.toward(Broken.apply(at).sum(1), at)


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_published_starts_touch_the_ball_in_the_inputs_precision(norm: str, dtype: torch.dtype) -> None:
    x = torch.zeros(3, 2, 5, dtype=dtype)
    for eps in (0.3, 0.7, torch.tensor([0.1, 0.2, 0.3])):
        ball = Ball(norm, eps, None)
        found = auto_step.start(x, ball, Rng(0, "start"))
        wanted = torch.as_tensor(eps, dtype=dtype).expand(3)
        torch.testing.assert_close(ball.distance(found, x), wanted, rtol=4 * torch.finfo(dtype).eps, atol=0.0)
        assert found.dtype == dtype
        assert len({tuple(row.flatten().tolist()) for row in found}) == 3
        inside = found.flatten(1).abs() < 0.99 * wanted[:, None]
        assert inside.sum(1).tolist() >= [9, 9, 9], "the largest entry alone touches the ball"


def test_a_published_start_in_l1_is_gaussian_noise_projected() -> None:
    x = torch.full((2, 6), 0.5)
    noise = Rng(0, "start").normal((2, 6))
    ball = Ball("L1", 1.0)
    assert torch.equal(auto_step.start(x, ball, Rng(0, "start")), ball.project(x + noise, x))


def test_rows_of_a_schedule_go_on_as_if_the_others_had_stayed() -> None:
    for norm in ("Linf", "L2", "L1"):
        x, eps = torch.zeros(3, 8), torch.tensor([0.2, 0.4, 0.6])
        gradient = Rng(0, "gradient").normal((12, 3, 8))

        def walked(keep: list[int] | None, norm: str = norm, x: Tensor = x, eps: Tensor = eps) -> Tensor:
            moves, rows, adv = auto_step.schedule(x, Ball(norm, eps, None), steps=12), torch.arange(3), x
            for step in range(12):
                loss = torch.tensor([0.0, -float(step), float(step)])[rows]
                moves.adapt(step, loss, adv, loss.clamp(min=0.0))
                adv = moves.move(adv, gradient[step][rows])  # noqa: B023
                if keep is not None and step == 5:
                    moves.take(torch.tensor(keep))
                    rows, adv = rows[keep], adv[keep]
            return adv

        whole = walked(None)
        for keep in ([2], [0, 2], [2, 1]):
            assert torch.equal(walked(keep), whole[keep])


def test_steps_and_lengths_may_be_those_of_each_row() -> None:
    x, ball = torch.zeros(3, 1), Ball("Linf", 10.0, None)
    found = search.ascend(
        x, lambda v: v.sum(1), ball, steps=torch.tensor([0, 1, 3]), step_size=torch.tensor([1.0, 2.0, 3.0]),
        rng=Rng(0), start="none",
    )  # fmt: skip
    assert found.flatten().tolist() == [0.0, 2.0, 9.0]
    assert not found.requires_grad


def test_the_best_batch_is_kept_where_rows_look_at_each_other() -> None:
    x, ball = torch.zeros(4, 2), Ball("Linf", 0.5, None)
    plain: dict[str, object] = {"steps": 0, "step_size": 0.1}

    def together(adv: Tensor) -> Tensor:
        return adv.sum(1)

    found = search.ascend(x, together, ball, rng=Rng(0, "r"), restarts=6, separable=False, **plain)  # type: ignore[arg-type]
    rng = Rng(0, "r")
    starts = [ball.sample(x, rng) for _ in range(6)]
    assert torch.equal(found, max(starts, key=lambda start: float(start.sum())))
    rows = search.ascend(x, together, ball, rng=Rng(0, "r"), restarts=6, **plain)  # type: ignore[arg-type]
    best = [max((start[row] for start in starts), key=lambda one: float(one.sum())) for row in range(4)]
    assert torch.equal(rows, torch.stack(best))


def test_a_gaussian_start_has_its_deviation_and_is_projected() -> None:
    x = torch.full((1, 4000), 0.5)
    narrow, wide = (
        search.ascend(
            x, lambda v: v.sum(1), Ball("Linf", eps, None), steps=0, step_size=0.1, rng=Rng(0, "g"), start="gaussian",
            deviation=0.25,
        ) - x
        for eps in (0.1, 9.0)
    )  # fmt: skip
    assert wide.std().item() == pytest.approx(0.25, rel=0.05)
    torch.testing.assert_close(narrow, wide.clamp(-0.1, 0.1), rtol=0, atol=1e-6)


def test_a_step_that_is_left_out_is_told() -> None:
    assert search.step_default(None, Ball("L2", 2.0)) == {"step_size": 0.5}
    assert search.step_default(0.25, Ball("L2", 2.0)) == {}
    assert search.step_default(None, Ball("L2", torch.tensor([1.0, 2.0]))) == {}


def test_sparse_steps_go_along_the_largest_entries_of_either_sign_and_count_those_of_one_row() -> None:
    x, gradient = torch.zeros(3, 10), torch.tensor([1.0, -9.0, 2.0, 8.0, -3.0, 4.0, 5.0, -6.0, 7.0, 0.5]).repeat(3, 1)
    moved = auto_step.schedule(x, Ball("L1", 1.0, None), steps=50).move(x, gradient)
    assert moved.tolist() == [[0.0, -0.5, 0.0, 0.5, *[0.0] * 6]] * 3


def test_who_is_left_in_a_search_has_its_own_label_and_number() -> None:
    """Rows 0 and 2 are fooled from the start and leave; the others climb away from their own labels."""
    from robustcl.types import Attack, Embedding, Oracle

    x, label = torch.full((4, 3), 0.5), torch.tensor([2, 0, 2, 1])
    x[[0, 2], 0] = 0.6
    rows, asked = torch.arange(4), []

    def encode(candidates: Tensor, places: Tensor) -> Embedding:
        asked.append(places.tolist())
        return Embedding(logits=candidates)

    attack = Attack(
        oracle=Oracle(
            encode=encode,
            objective=lambda embedding, places: -embedding.logits.gather(1, label[places][:, None])[:, 0],
            fooled=lambda embedding, places: embedding.logits.argmax(1) == 3 - label[places] - 1,
        ),
        ball=Ball("Linf", torch.tensor([0.1, 0.1, 0.1, 0.2])),
        rng=Rng(0),
        label=label,
        index=rows,
        places=rows,
        separable=True,
    )
    moved = search.pursue(x, attack, steps=2, step_size=None, start="none")
    assert torch.equal(moved[[0, 2]], x[[0, 2]])
    expected = torch.tensor([[0.45, 0.5, 0.5], [0.5, 0.4, 0.5]])
    torch.testing.assert_close(moved[[1, 3]], expected)
    assert asked == [[0, 1, 2, 3], [1, 3]]


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
def test_a_row_without_a_slope_stays_and_the_others_move(norm: str) -> None:
    x, gradient = torch.zeros(2, 10), torch.zeros(2, 10)
    gradient[1, 3] = 2.0
    moved = auto_step.schedule(x, Ball(norm, 0.5, None), steps=50).move(x, gradient)
    assert moved[0].tolist() == [0.0] * 10
    assert moved[1].nonzero().tolist() == [[3]]
