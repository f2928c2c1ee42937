"""Slopes, hygiene and records of an audit by hand: ranges that do not begin at 0, NaN, passes that are counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustcl.audit import budgets, chance, gradients, hygiene, record, rivals, runner, slopes, strength
from robustcl.audit.arms import CHEAP, Arm, Effort
from robustcl.audit.bench import Bench
from robustcl.audit.slopes import Slopes
from robustcl.errors import UsageError
from robustcl.evaluate.classifier import of_model
from robustcl.rng import Rng
from robustcl.threat import Ball


class Half(nn.Module):
    """Says 0 of images darker than a half in the mean, and 1 of others."""

    def forward(self, x: Tensor) -> Tensor:
        z = (x.flatten(1).mean(1) - 0.5) * 10
        return torch.stack([-z, z], 1)


class Told(nn.Module):
    """A model by a function; remembers how many rows it was given at each pass."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function, self.calls = function, list[int]()

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(len(x))
        found: Tensor = self.function(x, len(self.calls))
        return found


def bench(
    n: int = 6, *, level: float = 0.45, model: nn.Module | None = None, ball: Ball | None = None, block: int = 4000,
    effort: Effort = CHEAP,
) -> Bench:  # fmt: skip
    x = torch.full((n, 1, 2, 2), level)
    return Bench(
        of_model(model or Half()), x, torch.zeros(n, dtype=torch.int64), torch.arange(n), ball or Ball("Linf", 0.1),
        Rng(0), effort, block,
    )  # fmt: skip


def slopes_of(n: int, **changed: Tensor) -> Slopes:
    sound = {"rows": torch.arange(n), "loss": torch.ones(n, 4), "margin": torch.ones(n, 4), "value": torch.ones(n),
             "rival": torch.ones(n, dtype=torch.int64), "saturated": torch.zeros(n, dtype=torch.bool)}  # fmt: skip
    return Slopes(**{**sound, **changed})


@pytest.mark.parametrize(("ends", "width"), [((0.0, 1.0), 1.0), ((0.25, 1.0), 0.75), ((-1.0, 2.0), 3.0)])
def test_the_reach_of_a_slope_is_over_the_range(ends: tuple[float, float], width: float) -> None:
    at = slopes_of(2, margin=torch.tensor([[0.5, -0.25, 0.0, 0.25]] * 2), value=torch.tensor([-2.0, 4.0]))
    found = slopes.reach(bench(2, ball=Ball("Linf", 0.1, ends)), at)
    assert found.tolist() == pytest.approx([width / 2, width / 4])


def test_without_a_range_that_of_the_images_counts() -> None:
    held = bench(2, ball=Ball("Linf", 0.1, None))
    held.x = torch.tensor([[0.25, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.75]]).view(2, 1, 2, 2)
    at = slopes_of(2, value=torch.tensor([4.0, 0.0]))
    assert slopes.reach(held, at).tolist() == pytest.approx([0.5, 2e30])
    said = record.broader(held).evidence
    assert "brightness +0.2" in said
    assert "shift by 1 pixel" in said


def test_slopes_of_exactly_a_thousandth_do_not_vanish(monkeypatch: pytest.MonkeyPatch) -> None:
    for reach, weak in ((gradients.WEAK, False), (gradients.WEAK * 0.999, True)):
        monkeypatch.setattr(gradients.slopes, "reach", lambda *_, reach=reach: torch.full((100,), reach))
        assert (gradients._strong(bench(100), slopes_of(100)) is not None) == weak


def test_what_is_not_finite_on_the_way_counts_as_the_worst_of_errors_and_as_no_fault_of_a_step() -> None:
    """A model that says NaN everywhere but at the samples: the difference is all error, the fall is not judged."""

    def elsewhere(x: Tensor, call: int) -> Tensor:
        found = Half()(x)
        return torch.where((x.flatten(1) == 0.45).all(1)[:, None], found, torch.nan)

    held = bench(3, model=Told(elsewhere))
    at = slopes_of(3, value=torch.ones(3))
    assert slopes.local_error(held, at).tolist() == [1.0] * 3
    assert slopes.share_kept(held, at).tolist() == [1.0] * 3
    assert slopes.jumps(held, at).tolist() == [1.0] * 3


def test_flat_functions_have_no_error_and_no_jump() -> None:
    held = bench(3, model=Told(lambda x, call: torch.tensor([[1.0, 0.0]]).repeat(len(x), 1) + 0 * x.flatten(1)[:, :1]))
    at = slopes_of(3, margin=torch.zeros(3, 4))
    assert slopes.local_error(held, at).tolist() == [0.0] * 3
    assert slopes.share_kept(held, at).tolist() == [1.0] * 3
    assert slopes.jumps(held, at).tolist() == [0.0] * 3


def test_slopes_of_several_blocks_are_those_of_one() -> None:
    held = bench(5)
    held.x = torch.linspace(0.1, 0.4, 20).view(5, 1, 2, 2)
    whole = slopes.measure_slopes(held, torch.tensor([4, 0, 2]))
    held.block = 2
    parts = slopes.measure_slopes(held, torch.tensor([4, 0, 2]))
    for name in Slopes.__slots__:
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name))
    assert whole.rows.tolist() == [4, 0, 2]
    assert whole.rival.tolist() == [1, 1, 1]
    # Of the margin 2 * 10 * (0.5 - mean): 20 / 4 for each value; the cross-entropy falls by its softmax.
    torch.testing.assert_close(whole.margin, torch.full((3, 4), -5.0))
    share = whole.value.neg().sigmoid()
    torch.testing.assert_close(whole.loss, (5.0 * share)[:, None].expand(3, 4))


def test_passes_are_three_and_own_rows_are_looked_at_in_another_batch_and_alone() -> None:
    model = Told(lambda x, call: Half()(x))
    held = bench(7, model=model)
    model.calls.clear()
    assert hygiene.randomness(held).verdict == "pass"
    assert model.calls == [7, 7, 7]
    model.calls.clear()
    assert hygiene.own_rows(held).verdict == "pass"
    assert model.calls == [7, 4, 1, 1, 1, 1]
    held.block = 3
    model.calls.clear()
    hygiene.traces(held)
    assert model.calls == [3]


def test_who_draws_differs_or_changes_is_told_apart() -> None:
    loud = bench(4, model=Told(lambda x, call: Half()(x) + 0.1 * torch.rand(len(x), 2)))
    found = hygiene.randomness(loud)
    assert found.verdict == "fail"
    assert found.evidence.startswith("a forward pass draws from a global random generator; ")
    assert loud.blocked == "the model draws at random (C13)"
    moody = bench(4, model=Told(lambda x, call: Half()(x) + 0.1 * call))
    found = hygiene.randomness(moody)
    assert found.verdict == "fail"
    assert found.evidence.startswith("4 of 4 samples get other logits in a second pass, 0 a new class: average")
    assert moody.blocked == "the model draws at random (C13)"
    moody.blocked = "for a reason of its own"
    hygiene.randomness(moody)
    assert moody.blocked == "for a reason of its own"
    tiny = bench(4, model=Told(lambda x, call: Half()(x) + 1e-7 * call))
    assert hygiene.randomness(tiny).verdict == "warn"
    assert tiny.blocked is None
    assert hygiene.own_rows(loud).verdict == "not run"


class Counting(nn.Module):
    """Counts its rows in some buffers."""

    def __init__(self, buffers: int) -> None:
        super().__init__()
        for number in range(buffers):
            self.register_buffer(f"seen{number}", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        for buffer in self.buffers():
            buffer.add_(len(x))
        return Half()(x)


@pytest.mark.parametrize(("buffers", "more"), [(1, ""), (3, " and 2 more")])
def test_what_a_forward_pass_changes_is_named_and_counted(buffers: int, more: str) -> None:
    held = bench(2, model=Counting(buffers))
    found = hygiene.traces(held)
    assert found.verdict == "fail"
    assert f"{more}: hold it in eval mode" in found.evidence
    assert (" more" in found.evidence) == bool(more)
    assert held.blocked == "the model changes whenever it is looked at (H2)"


@pytest.mark.parametrize(("logits", "verdict", "words"), [
    ([[1.0], [2.0]], "fail", "it has one output"),
    ([[0.25, 0.75], [1.0, 0.0]], "fail", "its outputs are probabilities"),
    ([[-1.0, 2.0], [3.0, 1.0]], "pass", "2 finite outputs, spread over 4"),
    ([[0.0, torch.nan], [3.0, 1.0]], "fail", "1 of 2 samples have logits that are NaN or infinite"),
])  # fmt: skip
def test_what_logits_are(logits: list[list[float]], verdict: str, words: str) -> None:
    held = bench(2)
    held.logits = torch.tensor(logits)
    found = hygiene.logits(held)
    assert found.verdict == verdict
    assert words in found.evidence


def test_an_audit_needs_one_threat_and_a_sample() -> None:
    one = torch.arange(1)
    runner._refuse(one, Ball("Linf", 1e-9), False)
    for index, ball, both, words in (
        (torch.arange(0), Ball("Linf", 0.1), False, "an audit needs samples"),
        (one, Ball("Linf", torch.tensor([0.1])), False, "an audit needs one threat"),
        (one, Ball("Linf", 0.0), False, "of a size above 0, but eps is 0"), (one, Ball("Linf", 0.1), True, "not both"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            runner._refuse(index, ball, both)


@pytest.mark.parametrize(("blocked", "flat", "run"), [
    (None, None, ["C1", "C6", "C12"]), ("a", None, ["C12"]), (None, "b", ["C6", "C12"]), ("a", "b", ["C12"]),
])  # fmt: skip
def test_what_cannot_be_asked_is_not_run_and_says_why(blocked: str | None, flat: str | None, run: list[str]) -> None:
    held = bench(2)
    held.blocked, held.flat = blocked, flat
    asked: list[str] = []
    for code in ("C1", "C6", "C12"):

        def check(some: Bench, code: str = code) -> Any:
            asked.append(code)
            return some.finding(code, "pass", "done")

        found = runner._checked(held, code, check)
        assert (found.verdict == "not run") == (code not in run)
        if code not in run:
            assert found.evidence == (blocked or flat)
    assert asked == run


def test_a_check_that_breaks_down_is_a_warning_of_one_line() -> None:
    def failing(held: Bench) -> Any:
        raise ValueError("first\nsecond")

    def silent(held: Bench) -> Any:
        raise ValueError

    found = runner._checked(bench(2), "C12", failing)
    assert (found.verdict, found.evidence) == ("warn", "could not be checked: ValueError: first")
    assert runner._checked(bench(2), "C12", silent).evidence == "could not be checked: ValueError: "


@pytest.mark.parametrize(("fallen", "n", "verdict"), [
    (0, 100, "pass"), (4, 100, "pass"), (5, 100, "pass"), (15, 100, "warn"), (16, 100, "warn"),
    (40, 100, "fail"), (0, 0, "pass"),
])  # fmt: skip
def test_shares_that_overstate(fallen: int, n: int, verdict: str) -> None:
    lost = torch.arange(max(n, 1)) < fallen
    judged = torch.ones(max(n, 1), dtype=torch.bool) if n else torch.zeros(1, dtype=torch.bool)
    found = chance.say_overstatement(lost, judged)
    order = ["pass", "warn", "fail"]
    assert found == verdict or (verdict == "warn" and found in order)


def test_an_unbounded_ball_is_the_whole_range_in_each_norm() -> None:
    assert Arm("it", "pgd", {"steps": 1}, step=0.25).spec(Ball("Linf", 0.4)) == {"steps": 1, "step_size": 0.1}
    assert Arm("it", "pgd", {"steps": 1}).spec(Ball("Linf", 0.4)) == {"steps": 1}
    assert Arm("it", "pgd", {"steps": 1}).but("other", steps=3).options == {"steps": 3}
    assert budgets.sweep(bench(3, effort=replace(CHEAP, sweep=(0.5, 1.0)))).verdict == "pass"


def test_noise_of_each_image_is_drawn_so_often_whatever_is_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Told(lambda x, call: Half()(x))
    effort = replace(CHEAP, noise=7, second=())
    for rows, passes in ((2000, [21]), (6, [6, 6, 6, 3]), (1, [3] * 7)):
        monkeypatch.setattr(rivals, "_ROWS", rows)
        held = bench(3, level=0.3, model=model, effort=effort)
        model.calls.clear()
        found = rivals.noise(held)
        assert found.evidence == "7 draws for each of 3 samples alone broke 0 samples"
        assert model.calls == passes
        assert not held.fallen["noise"].any()
    near = bench(3, level=0.499, ball=Ball("Linf", 0.2), effort=effort)
    seen = rivals.noise(near)
    draws = [
        near.ball.sample(near.x[i : i + 1], near.rng.child("noise").for_rows(torch.tensor([i * 7 + draw])))
        for i in range(3) for draw in range(7)
    ]  # fmt: skip
    broken = (torch.cat(draws).flatten(1).mean(1) > 0.5).view(3, 7).any(1)
    assert torch.equal(near.fallen["noise"], broken)
    assert seen.samples == tuple(broken.nonzero()[:, 0].tolist())


def test_the_last_steps_share_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that is the mean pixel: twenty steps of a quarter of eps, of which four fill the ball."""
    held = bench(2, ball=Ball("Linf", 0.4))
    said = strength._slope(held, torch.tensor([True, False]))
    assert said == "where it failed, the last 10 of 20 steps brought 0.0 % of the loss's rise"
    assert strength._slope(held, torch.zeros(2, dtype=torch.bool)) == "no sample stands whose loss could still rise"
