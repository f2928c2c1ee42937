"""The numbers of the audit's verdicts, each at its boundary: attacks by a script break just so many samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from robustcl import registry
from robustcl.audit import budgets, chance, gradients, hygiene, record, rivals, runner, slopes, strength
from robustcl.audit.arms import CHEAP, DEEP, Arm, Effort
from robustcl.audit.bench import Bench, count, count_known, percent
from robustcl.audit.shown import headline, lines
from robustcl.audit.slopes import Slopes
from robustcl.audit.values import Audit, Finding
from robustcl.errors import UsageError
from robustcl.evaluate.classifier import of_model
from robustcl.evaluate.journal import Outcome
from robustcl.rng import Rng
from robustcl.threat import Ball


class Half(nn.Module):
    """Says 0 of images darker than a half in the mean, and 1 of others."""

    def forward(self, x: Tensor) -> Tensor:
        z = (x.flatten(1).mean(1) - 0.5) * 10
        return torch.stack([-z, z], 1)


class Scripted:
    """Turns the images of some numbers bright, and nothing else; which ones may depend on eps."""

    needs: ClassVar[frozenset[Any]] = frozenset()
    citation = "none"
    by_eps: ClassVar[Mapping[float, int]] = {}

    def __init__(self, *, first: int = 0, last: int = 0) -> None:
        self.first = first
        self.last = last

    def perturb(self, x: Tensor, attack: Any) -> Tensor:
        last = self.by_eps.get(round(float(attack.ball.eps), 6), self.last)
        chosen = (attack.index >= self.first) & (attack.index < last)
        return torch.where(chosen[:, None, None, None], torch.full_like(x, 0.55), x)


@pytest.fixture(autouse=True)
def script() -> Iterator[None]:
    with registry.local("generator", "scripted", Scripted):
        yield
    Scripted.by_eps = {}


def breaking(first: int, last: int, *, white: bool = True) -> Arm:
    return Arm(f"script {first} {last}", "scripted", {"first": first, "last": last}, white=white)


NOBODY = breaking(0, 0)
IDLE = replace(
    CHEAP,
    single=NOBODY,
    iterative=NOBODY,
    longer=NOBODY,
    restarts=NOBODY,
    unbounded=NOBODY,
    targeted=NOBODY,
    black_box=breaking(0, 0, white=False),
    second=(),
)


def bench(n: int, effort: Effort = IDLE, *, level: float = 0.45, known: list[Outcome] | None = None) -> Bench:
    """Return n dark images of the class 0."""
    x, label = torch.full((n, 1, 2, 2), level), torch.full((n,), int(level > 0.5))
    return Bench(of_model(Half()), x, label, torch.arange(n), Ball("Linf", 0.6), Rng(0), effort, 4000, known or [])


def known(n: int, fallen: int) -> list[Outcome]:
    return [Outcome(i, 0, int(i < fallen), i >= fallen, 0, "", "it") for i in range(n)]


@pytest.mark.parametrize(
    ("alone", "gained", "verdict"), [(6, 0, "pass"), (7, 0, "fail"), (7, 1, "pass"), (0, 9, "pass")]
)
def test_one_step_may_break_what_many_do_not_by_chance_alone(alone: int, gained: int, verdict: str) -> None:
    single, several = breaking(0, alone), breaking(50, 50 + gained)
    found = strength.iterative(bench(100, replace(IDLE, single=single, iterative=several)))
    assert (found.verdict, found.samples) == (verdict, tuple(range(alone)))


CHECKS: dict[str, Callable[[Bench], Finding]] = {"longer": strength.steps, "restarts": strength.restarts}


@pytest.mark.parametrize("which", CHECKS)
@pytest.mark.parametrize(
    ("n", "gained", "verdict"), [(100, 1, "pass"), (100, 2, "warn"), (400, 2, "pass"), (400, 3, "warn")]
)
def test_more_effort_must_find_two_and_half_a_point(which: str, n: int, gained: int, verdict: str) -> None:
    held = bench(n, replace(IDLE, iterative=breaking(50, 60), **{which: breaking(0, gained)}))
    strength.iterative(held)
    found = CHECKS[which](held)
    assert (found.verdict, found.samples) == (verdict, tuple(range(gained)))
    assert int(held.white.sum()) == 10 + gained


@pytest.mark.parametrize(("n", "strays", "verdict"), [
    (100, 2, "pass"), (100, 3, "warn"), (40, 1, "pass"), (40, 2, "warn"), (400, 8, "pass"), (200, 8, "warn"),
    (400, 9, "fail"),
])  # fmt: skip
def test_strays_of_a_sweep(n: int, strays: int, verdict: str) -> None:
    """Of three comparisons each may be a coin's toss once in 300: 2^-8 is above that, 2^-9 below."""
    Scripted.by_eps = {0.15: 0, 0.3: strays, 0.6: 0, 1.0: 0}
    held = bench(n, replace(IDLE, iterative=breaking(0, 0)))
    found = budgets.sweep(held)
    assert (found.verdict, found.samples) == (verdict, tuple(range(strays)))
    assert not held.fallen, "other balls are other threats"


@pytest.mark.parametrize(("n", "standing", "verdict"), [
    (100, 1, "pass"), (100, 2, "warn"), (200, 2, "pass"), (200, 3, "warn"), (100, 50, "warn"), (100, 60, "fail"),
])  # fmt: skip
def test_what_an_unbounded_attack_may_leave(n: int, standing: int, verdict: str) -> None:
    found = budgets.lift_bounds(bench(n, replace(IDLE, unbounded=breaking(standing, n))))
    assert (found.verdict, found.samples) == (verdict, tuple(range(standing)))


@pytest.mark.parametrize(("n", "left", "verdict"), [
    (1000, 0, "pass"), (1000, 1, "warn"), (1000, 2, "warn"), (1000, 3, "fail"), (100, 1, "warn"), (100, 2, "fail"),
])  # fmt: skip
def test_what_a_blind_search_alone_may_break(n: int, left: int, verdict: str) -> None:
    """It breaks ten more than stay: those a second gradient attack breaks too."""
    effort = replace(IDLE, black_box=breaking(0, left + 10, white=False), second=(breaking(left, left + 10),))
    held = bench(n, effort)
    found = rivals.black_box(held)
    assert (found.verdict, found.samples) == (verdict, tuple(range(left)))
    assert f"alone broke {count(left + 10)}, {left} of which no gradient attack breaks" in found.evidence
    assert int(held.white.sum()) == 10


@pytest.mark.parametrize(("gained", "verdict"), [(6, "report"), (12, "warn"), (15, "warn"), (16, "fail")])
def test_a_targeted_attack_that_breaks_more(gained: int, verdict: str) -> None:
    assert strength.aim_attacks(bench(100, replace(IDLE, targeted=breaking(0, gained)))).verdict == verdict


def test_the_worst_case_is_held_against_what_was_reported() -> None:
    held = bench(100, replace(IDLE, iterative=breaking(0, 30), restarts=breaking(20, 40)), known=known(100, 35))
    assert record.worst_case(held).verdict == "not run"
    strength.iterative(held)
    strength.restarts(held)
    found = record.worst_case(held)
    assert (found.verdict, found.samples) == ("pass", tuple(range(35, 40)))
    assert "60.0 % withstand every attack" in found.evidence
    assert "reported at all" not in found.evidence


def test_without_a_report_the_plain_attack_is_the_claim() -> None:
    held = bench(100, replace(IDLE, iterative=breaking(0, 30), restarts=breaking(20, 50)))
    strength.restarts(held)
    assert record.worst_case(held).verdict == "pass"
    strength.iterative(held)
    found = record.worst_case(held)
    assert (found.verdict, found.samples) == ("fail", tuple(range(30, 50)))


def test_some_samples_reported() -> None:
    held = bench(100, replace(IDLE, restarts=breaking(0, 20)), known=known(50, 10))
    strength.restarts(held)
    found = record.worst_case(held)
    assert found.samples == tuple(range(10, 20))
    assert found.verdict == "fail"
    assert "50 of 100 samples were reported at all" in found.evidence


def test_clean_accuracy_above_chance() -> None:
    held = bench(100)
    assert record.fields(held).verdict == "pass"
    for wrong, verdict in ((39, "pass"), (41, "warn")):
        held.correct = torch.arange(100) >= wrong
        assert record.fields(held).verdict == verdict


def test_other_changes_by_hand() -> None:
    said = record.broader(bench(50, level=0.35)).evidence
    assert "noise 0.02 100.0 %" in said
    assert "brightness +0.2 0.0 %, half contrast 100.0 %, shift by 1 pixel 100.0 %" in said
    said = record.broader(bench(50, level=0.65)).evidence
    assert "brightness +0.2 100.0 %, half contrast 100.0 %, shift by 1 pixel 0.0 %" in said


@pytest.mark.parametrize(("low", "high", "eps", "verdict"), [
    (0.0, 1.0, 0.1, "pass"), (0.0, 0.5, 0.1, "pass"), (0.0, 0.49, 0.1, "warn"), (0.5, 1.0, 0.1, "pass"),
    (0.0, 1.0, 0.25 / 255, "pass"), (0.0, 1.0, 0.24 / 255, "warn"),
])  # fmt: skip
def test_units(low: float, high: float, eps: float, verdict: str) -> None:
    held = bench(10)
    held.x = torch.linspace(low, high, 40).view(10, 1, 2, 2)
    held.ball = Ball("Linf", eps)
    assert hygiene.units(held).verdict == verdict
    held.ball = Ball("L2", eps)
    assert hygiene.units(held).verdict == ("pass" if high - low >= 0.5 else "warn")


def test_units_without_a_range_and_below_zero() -> None:
    held = bench(10)
    held.ball = Ball("Linf", 0.1, None)
    assert hygiene.units(held).verdict == "warn"
    held.x = held.x - 0.6
    found = hygiene.units(held)
    assert found.verdict == "fail"
    assert "normalised values" in found.evidence
    assert held.blocked is None
    held.ball = Ball("Linf", 0.1)
    assert hygiene.units(held).verdict == "fail"
    assert held.blocked == "inputs lie outside the threat's range (H4)"


@pytest.mark.parametrize(("moved", "verdict"), [(2, "pass"), (4, "fail")])
def test_rows_that_move_in_another_batch(moved: int, verdict: str) -> None:
    """Twenty in another order and four alone are looked at: 5 % of 22 is one row and a tenth, of 62 three."""
    held = bench(120)

    class Neighbourly(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            logits = Half()(x) + torch.arange(2.0)
            if len(x) == 60:  # the half, turned round: its last rows are the first samples
                logits[-moved:] += 0.1
            return logits

    held.classifier = of_model(Neighbourly())
    held.logits = held.forward(held.x)
    assert hygiene.own_rows(held).verdict == verdict


def slopes_of(n: int, **changed: Tensor) -> Slopes:
    sound = {"rows": torch.arange(n), "loss": torch.ones(n, 4), "margin": torch.ones(n, 4), "value": torch.ones(n),
             "rival": torch.ones(n, dtype=torch.int64), "saturated": torch.zeros(n, dtype=torch.bool)}  # fmt: skip
    return Slopes(**{**sound, **changed})


def marked(n: int, first: int, value: float) -> Tensor:
    found = torch.ones(n, 4)
    found[:first] = value
    return found


@pytest.mark.parametrize(("dead", "verdict"), [(0, None), (5, "warn"), (6, "fail")])
@pytest.mark.parametrize("which", ["loss", "margin"])
def test_dead_gradients(dead: int, verdict: str | None, which: str) -> None:
    fault = gradients._alive(bench(100), slopes_of(100, **{which: marked(100, dead, 0.0)}))
    assert (fault[0] if fault else None) == verdict
    if fault:
        assert int(fault[2].sum()) == dead
        assert ("logits saturate" in fault[1]) == (which == "loss")


@pytest.mark.parametrize("which", ["loss", "margin"])
def test_a_gradient_that_is_not_finite_fails(which: str) -> None:
    broken = marked(100, 0, 0.0)
    broken[3, 2] = torch.nan
    fault = gradients._finite(bench(100), slopes_of(100, **{which: broken}))
    assert fault is not None
    assert fault[2].nonzero().tolist() == [[3]]
    assert gradients._finite(bench(100), slopes_of(100)) is None


@pytest.mark.parametrize(("weak", "reach", "fails"), [(6, 0.9e-3, True), (5, 0.9e-3, False), (100, 1.1e-3, False)])
def test_vanishing_gradients(weak: int, reach: float, fails: bool) -> None:
    """Four entries of g over a margin of 2 in a range of 1 change it by 4 g / 2 of itself."""
    at = slopes_of(100, margin=marked(100, weak, reach / 2), value=torch.full((100,), -2.0))
    assert (gradients._strong(bench(100), at) is not None) == fails


@pytest.mark.parametrize(("share", "warns"), [(50, False), (51, True)])
def test_saturation(share: int, warns: bool) -> None:
    at = slopes_of(100, saturated=torch.arange(100) < share)
    assert (gradients._unsaturated(bench(100), at) is not None) == warns


@pytest.mark.parametrize(("look", "measure", "kept", "blamed"), [
    ("_true", "local_error", 0.5, 0.51), ("_continuous", "jumps", 0.5, 0.51), ("_useful", "share_kept", 0.1, 0.09),
    ("_useful", "share_kept", 10.0, 10.1),
])  # fmt: skip
def test_medians(look: str, measure: str, kept: float, blamed: float, monkeypatch: pytest.MonkeyPatch) -> None:
    for value, fails in ((kept, False), (blamed, True)):

        def measured(held: Bench, at: Slopes, value: float = value) -> Tensor:
            return torch.full((held.n,), value)

        monkeypatch.setattr(gradients.slopes, measure, measured)
        fault = getattr(gradients, look)(bench(9), slopes_of(9))
        assert (fault is not None) == fails
        if fault:
            assert fault[0] == "fail"
            assert bool(fault[2].all())


def test_another_gradient_in_a_second_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn of 8.2 degrees has the cosine 0.99: 8 degrees are the same gradient, 9 another."""
    for degrees, turned, fails in ((8.0, 100, False), (9.0, 5, False), (9.0, 6, True)):
        angle = torch.deg2rad(torch.tensor(degrees))
        again = torch.tensor([[1.0, 0.0]]).repeat(100, 1)
        again[:turned] = torch.stack([angle.cos(), angle.sin()])
        monkeypatch.setattr(
            gradients.slopes, "measure_slopes", lambda *_, again=again: slopes_of(100, margin=1e-30 * again)
        )
        at = slopes_of(100, margin=torch.tensor([[1.0, 0.0]]).repeat(100, 1))
        assert (gradients._repeatable(bench(100), at) is not None) == fails


def test_chances() -> None:
    assert [chance.beyond(found, n) for found, n in ((1, 10), (2, 999), (2, 1000), (3, 1000))] == [
        False,
        True,
        False,
        True,
    ]
    assert chance.above(5, 5, 0.5)
    assert not chance.above(0, 0, 0.0)
    assert chance.mcnemar(0, 0) == 1.0
    assert chance.at_least(2, 2, 0.5) == pytest.approx(0.25)
    assert chance.at_least(1, 2, 0.25) == pytest.approx(1 - 0.75**2)
    assert chance.at_least(1, 3, 0.25) == pytest.approx(1 - 0.75**3)


def test_what_is_told_of_a_report() -> None:
    told = count_known(known(6, 2), [1, 2, 3, 9])
    assert (told["samples"], told["standing"]) == (3, 2)
    assert told["hash"] == count_known(known(6, 2)[::-1], [3, 2, 1])["hash"]
    assert told["hash"] != count_known(known(6, 3), [1, 2, 3])["hash"]
    assert len(told["hash"]) == 12


def test_words() -> None:
    assert [count(1), count(2), count(0), count(1, 5)] == ["1 sample", "2 samples", "0 samples", "1 of 5 samples"]
    assert percent(0.4123) == "41.2 %"


def test_ten_samples_are_named_and_the_rest_counted() -> None:
    def told(verdict: Any, samples: int) -> list[str]:
        one = Finding("C1", verdict, "so it is", tuple(range(samples)))
        found = list(lines(Audit((one,), 20, 0.5, 0.25, {})))
        assert found[-1] == headline(Audit((one,), 20, 0.5, 0.25, {}))
        return found[1 : found.index("What no audit can answer:") - 1]

    assert told("pass", 3) == []
    assert told("fail", 0) == []
    assert [line.strip() for line in told("warn", 10)] == ["samples 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"]
    assert [line.strip() for line in told("fail", 12)] == ["samples 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"]
    said = headline(
        Audit((Finding("C1", "warn", ""), Finding("C2", "fail", ""), Finding("C3", "fail", "")), 20, 0.5, 0.25, {})
    )
    assert said == "audit: FAIL, 0 passed, 1 warned, 2 failed; clean 50.0%, at most 25.0% robust, 20 samples"


def test_the_slopes_of_a_straight_margin_by_hand() -> None:
    """Of four pixels of 0.45 the margin is 20 (0.5 - their mean) = 1, its slope -5 for each, and it falls straight."""
    held = bench(6)
    at = slopes.measure_slopes(held, torch.tensor([1, 4]))
    assert at.rows.tolist() == [1, 4]
    torch.testing.assert_close(at.margin, torch.full((2, 4), -5.0))
    torch.testing.assert_close(at.value, torch.ones(2))
    assert at.rival.tolist() == [1, 1]
    chance_of_the_other = 1 / (1 + math.e)  # of logits 0.5 and -0.5
    torch.testing.assert_close(at.loss, torch.full((2, 4), 5.0 * chance_of_the_other))
    assert at.saturated.tolist() == [False, False]
    torch.testing.assert_close(slopes.margin(held, torch.full((2, 1, 2, 2), 0.4), at), torch.full((2,), 2.0))
    assert slopes.local_error(held, at).tolist() == pytest.approx([0.0, 0.0], abs=1e-5)
    assert slopes.share_kept(held, at).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
    assert slopes.jumps(held, at).tolist() == pytest.approx([0.25, 0.25], abs=1e-4)
    assert slopes.reach(held, at).tolist() == pytest.approx([20.0, 20.0], rel=1e-5)
    held.ball = Ball("Linf", 0.6, None)  # the inputs' own ends stand for the range, and here they are one
    assert slopes.reach(held, at).tolist() == [0.0, 0.0]


class Bent(nn.Module):
    """The margin falls by 1 over the way to 0.5, then by half as much; or it jumps there."""

    def __init__(self, jump: float) -> None:
        super().__init__()
        self.jump = jump

    def forward(self, x: Tensor) -> Tensor:
        z = (x.flatten(1).mean(1) - 0.4) * 10
        late = (z > 1.0).float()
        z = z - late * (z - 1.0) / 2 + self.jump * late
        return torch.stack([-z / 2 + 5, z / 2 - 5], 1)


def test_a_kink_and_a_jump_by_hand() -> None:
    """From 0.4 the whole way, 0.6 of light, is 6 in slope: 1 before the kink, 2.5 behind it, so 3.5 of it."""
    for jump, ratio in ((0.0, 0.3), (50.0, 0.95)):
        held = bench(3, level=0.4)
        held.classifier = of_model(Bent(jump))
        at = slopes.measure_slopes(held, torch.arange(3))
        found = slopes.jumps(held, at)
        assert (float(found.median()) > 0.5) == (jump > 0)
        assert abs(float(found.median()) - ratio) < 0.06
    held = bench(3, level=0.4)
    held.classifier = of_model(Bent(0.0))
    at = slopes.measure_slopes(held, torch.arange(3))
    # A quarter of the way is 1.5 of slope: 1, and half of the other 0.5; 1.25 of 1.5 is more than 3.5 of 6.
    assert slopes.share_kept(held, at).tolist() == pytest.approx([1.25 / 1.5] * 3, rel=1e-4)


def test_the_last_ten_steps_share_of_a_rise() -> None:
    """Small steps along a straight slope: the loss rises evenly, and ten of twenty steps bring half of it."""
    held = bench(4)
    held.ball = Ball("Linf", 0.001)
    assert strength._slope(held, held.correct & False) == "no sample stands whose loss could still rise"
    assert "brought 0.0 % of the loss's rise" in strength._slope(held, held.correct)  # after four steps it stands


def test_the_way_across_the_ball_has_32_pieces_and_ends_there(monkeypatch: pytest.MonkeyPatch) -> None:
    held, seen = bench(1), []
    at, measured = slopes.measure_slopes(held, torch.arange(1)), slopes.margin

    def told(bench: Bench, x: Tensor, at: Slopes) -> Tensor:
        seen.append(float(x.mean()))
        return measured(bench, x, at)

    monkeypatch.setattr(slopes, "margin", told)
    slopes.jumps(held, at)
    assert seen == pytest.approx([0.45 + 0.55 * piece / 32 for piece in range(33)])  # 0.6 more is 1 at most


def test_a_deep_audit_takes_the_deep_attacks_and_nobody_elses_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    images: Any = SimpleNamespace(
        fetch=lambda index: torch.full((len(index), 1, 2, 2), 0.45), labels=torch.zeros(9, dtype=torch.int64),
        device=torch.device("cpu"),
    )  # fmt: skip
    deep = replace(IDLE, restarts=breaking(0, 3), noise=1)
    monkeypatch.setattr(runner, "DEEP", deep)
    monkeypatch.setattr(runner, "CHEAP", replace(IDLE, noise=1))
    ask = partial(runner.audit, of_model(Half()), images, torch.arange(9), Ball("Linf", 0.6), Rng(0))
    assert ask(deep=True).find("C3").samples == (0, 1, 2)
    assert ask().find("C3").samples == ()
    assert ask(effort=deep).find("C3").samples == (0, 1, 2)
    with pytest.raises(UsageError, match="deep = True or attacks of its own"):
        ask(deep=True, effort=deep)


def specs(effort: Effort) -> dict[str, Any]:
    ball = Ball("Linf", 0.4)
    arms = {name: getattr(effort, name) for name in Effort.__slots__ if isinstance(getattr(effort, name), Arm)}
    arms |= {f"second {number}": arm for number, arm in enumerate(effort.second)}
    return {name: (arm.label, arm.use, arm.spec(ball), arm.stream, arm.white) for name, arm in arms.items()}


def pgd(steps: int, restarts: int = 1) -> dict[str, Any]:
    return {"steps": steps, "step_size": 0.1, **({"restarts": restarts} if restarts > 1 else {})}


def test_an_audits_attacks_are_those_of_the_manual() -> None:
    """Verdicts of two audits may be compared as long as these stand; docs/audit.md lists them."""
    assert specs(CHEAP) == {
        "single": ("FGSM", "fgsm", {}, None, True),
        "iterative": ("PGD-20", "pgd", pgd(20), "pgd", True),
        "longer": ("PGD-40", "pgd", pgd(40), "pgd", True),
        "restarts": ("PGD-20 with 2 restarts", "pgd", pgd(20, 2), "pgd", True),
        "unbounded": ("PGD-40", "pgd", pgd(40), "pgd", True),
        "targeted": ("APGD-T", "apgd-targeted", {"steps": 20, "targets": 3}, None, True),
        "black_box": ("Square", "square", {"queries": 200}, None, False),
        "second 0": ("PGD-60 with 4 restarts", "pgd", pgd(60, 4), "pgd", True),
        "second 1": ("APGD-T", "apgd-targeted", {"steps": 40, "targets": 5}, None, True),
    }
    assert specs(DEEP) == {
        **specs(CHEAP),
        "longer": ("PGD-100", "pgd", pgd(100), "pgd", True),
        "restarts": ("PGD-20 with 10 restarts", "pgd", pgd(20, 10), "pgd", True),
        "unbounded": ("PGD-200", "pgd", pgd(200), "pgd", True),
        "targeted": ("APGD-T", "apgd-t", {}, None, True),
        "black_box": ("Square", "square", {"queries": 5000}, None, False),
        "hard_label": ("RayS", "rays", {}, None, False),
        "second 0": ("PGD-200 with 10 restarts", "pgd", pgd(200, 10), "pgd", True),
        "second 1": ("APGD-T", "apgd-targeted", {"steps": 100, "targets": 9, "restarts": 3}, None, True),
    }
    assert (CHEAP.noise, DEEP.noise) == (50, 10_000)
    assert CHEAP.sweep == DEEP.sweep == (0.25, 0.5, 1.0, 2.0)


def test_an_arm_is_aimed_at_as_many_classes_as_are_wrong() -> None:
    arm = Arm("it", "apgd-targeted", {"steps": 2, "targets": 5})
    for classes, targets in ((2, 1), (3, 2), (6, 5), (10, 5)):
        ((_, member),) = arm.members(classes, Ball("Linf", 0.1))
        assert member.targets == targets  # type: ignore[attr-defined]
    assert Arm("none", "no-such-attack").missing(3, Ball("Linf", 0.1)) is not None
    assert arm.missing(3, Ball("Linf", 0.1)) is None
    ((stream, _),) = replace(arm, stream="shared").members(3, Ball("Linf", 0.1))
    assert stream == "shared"
