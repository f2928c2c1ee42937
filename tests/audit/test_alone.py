"""Each check of the audit by itself: it fails on a specimen made for it and passes on an honest model.

Called alone, no neighbour can catch the specimen in its place; called through the runner's own table, a check that is
switched off there is missed as well.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustcl import registry
from robustcl.audit import gradients, rivals, runner, slopes
from robustcl.audit.arms import CHEAP, Arm, Effort
from robustcl.audit.bench import Bench, Check
from robustcl.audit.values import TITLES, Finding
from robustcl.evaluate.classifier import of_model
from robustcl.evaluate.journal import Outcome
from robustcl.rng import Rng
from robustcl.threat import Ball
from tests.audit.zoo import masked
from tests.audit.zoo.honest import trained
from tests.audit.zoo.images import digits

N = 40
BALL = Ball("Linf", 0.1)
QUICK = replace(CHEAP, black_box=Arm("Square", "square", {"queries": 60}, white=False), noise=20, second=())


def bench_of(
    model: nn.Module,
    *,
    effort: Effort = QUICK,
    ball: Ball = BALL,
    images: Callable[[Tensor], Tensor] = lambda x: x,
    mode: str = "eval",
    known: list[Outcome] | None = None,
) -> Bench:
    """Put forty digits before a model."""
    test, index = digits()[1], torch.arange(N)
    x = images(test.x[index])
    return Bench(of_model(model, mode), x, test.labels[index], index, ball, Rng(0), effort, 17, known or [])


def asked(code: str, bench: Bench) -> Finding:
    """Run the one check that the audit has under a code."""
    checks: Mapping[str, Check] = {**runner._FIRST, **runner._LAST}
    found = checks[code](bench)
    assert found.code == code
    return found


@pytest.fixture(autouse=True)
def clumsy_attacks() -> Any:
    with (
        registry.local("generator", "still", Still),
        registry.local("generator", "narrow", Narrow),
    ):
        yield


class Still:
    """An attack that does nothing."""

    needs = frozenset()
    citation = "none"

    def perturb(self, x: Tensor, attack: Any) -> Tensor:
        return x.clone()


class Narrow(Still):
    """An attack that works in small balls alone."""

    def perturb(self, x: Tensor, attack: Any) -> Tensor:
        eps = float(attack.ball.eps)
        return attack.ball.project(x + eps * self.uphill(x, attack), x) if eps <= 0.1 else x.clone()

    def uphill(self, x: Tensor, attack: Any) -> Tensor:
        leaf = x.detach().requires_grad_()
        with torch.enable_grad():
            (toward,) = torch.autograd.grad(attack.objective(attack.encode(leaf)).sum(), leaf)
        return toward.sign()


STILL, NARROW = Arm("still", "still", stream="pgd"), Arm("narrow", "narrow")
WEAK = Arm("PGD-1", "pgd", {"steps": 1}, step=0.1, stream="pgd")
MLP = partial(trained, "MLP 64")


def moved_by_looking() -> nn.Module:
    class Counting(masked.Wrapped):
        def __init__(self, net: nn.Module) -> None:
            super().__init__(net)
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.seen += 1
            return self.net(x)

    return Counting(MLP()).eval()


def one_output() -> nn.Module:
    class One(masked.Wrapped):
        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)[:, :1]

    return One(MLP()).eval()


def claimed(standing: bool) -> list[Outcome]:
    return [Outcome(i, 0, 0 if standing else 1, standing, 0, "", "pgd-20") for i in range(N)]


FAILS: dict[str, tuple[str, Callable[[], Bench], str]] = {
    "probabilities": ("H1", lambda: bench_of(masked.Softmax(MLP())), "are probabilities"),
    "NaN": ("H1", lambda: bench_of(masked.SometimesNaN(MLP())), "NaN or infinite"),
    "one output": ("H1", lambda: bench_of(one_output()), "one output"),
    "a counter": ("H2", lambda: bench_of(moved_by_looking()), "in a forward pass"),
    "statistics of the batch": ("H3", lambda: bench_of(masked.BatchStatistics(MLP())), "in another batch"),
    "outside the range": ("H4", lambda: bench_of(MLP(), images=lambda x: 2 * x), "outside the threat's"),
    "normalised": (
        "H4",
        lambda: bench_of(MLP(), images=lambda x: x - 0.5, ball=Ball("Linf", 0.1, (-2.0, 2.0))),
        "normalised values",
    ),
    "noise at evaluation": ("C13", lambda: bench_of(masked.NoisyInput(MLP(), 0.15)), "draws from a global"),
    "still": ("C1", lambda: bench_of(MLP(), effort=replace(QUICK, iterative=STILL)), "FGSM alone broke"),
    "narrow": ("C4", lambda: bench_of(MLP(), effort=replace(QUICK, iterative=NARROW)), "weaker as it gets room"),
    "still without a bound": ("C5", lambda: bench_of(MLP(), effort=replace(QUICK, unbounded=STILL)), "does not work"),
    "gradients that nobody follows": ("C6", lambda: bench_of(MLP()), "Square alone broke"),
    "noise alone": ("C7", lambda: bench_of(MLP(), ball=Ball("Linf", 0.4)), "20 draws for each"),
    "a vote": (
        "C8",
        lambda: bench_of(MLP(), effort=replace(QUICK, hard_label=Arm("RayS", "rays", {"queries": 60}, white=False))),
        "RayS alone broke",
    ),
    "tiny logits": ("C10", lambda: struck(bench_of(masked.Scaled(MLP(), 1e-3))), "overstates robustness"),
    "a report of nobody fallen": ("C11", lambda: struck(bench_of(MLP(), known=claimed(True))), "fell"),
}
"""Specimen -> the check that must fail on it when it is alone, and a part of what it says."""

WARNS: dict[str, tuple[str, Callable[[], Bench], str]] = {
    "no range": ("H4", lambda: bench_of(MLP(), ball=Ball("Linf", 0.1, None)), "no range"),
    "a tenth of the range": ("H4", lambda: bench_of(MLP(), images=lambda x: x / 10), "less than half of the range"),
    "bytes": (
        "H4",
        lambda: bench_of(MLP(), images=lambda x: 255 * x, ball=Ball("Linf", 8 / 255, (0.0, 255.0))),
        "grey level",
    ),
    "too few steps": (
        "C2",
        lambda: struck(bench_of(MLP(), effort=replace(QUICK, iterative=replace(WEAK, step=0.3)))),
        "PGD-40 broke",
    ),
    "too few restarts": ("C3", lambda: bench_of(MLP()), "more, of 40"),
    "chance": ("C12", lambda: bench_of(masked.Scaled(MLP(), -1.0)), "no better than chance"),
}
"""The same of checks that warn."""


def struck(bench: Bench) -> Bench:
    """Let the effort's own gradient attack go first, as the audit does."""
    bench.strike(bench.effort.iterative)
    if bench.reported:
        bench.strike(bench.effort.targeted)
    return bench


@pytest.mark.parametrize("specimen", FAILS)
def test_a_check_alone_fails_on_its_specimen(specimen: str) -> None:
    code, make, said = FAILS[specimen]
    found = asked(code, make())
    assert found.verdict == "fail", found.evidence
    assert said in found.evidence


@pytest.mark.parametrize("specimen", WARNS)
def test_a_check_alone_warns_of_its_specimen(specimen: str) -> None:
    code, make, said = WARNS[specimen]
    found = asked(code, make())
    assert found.verdict == "warn", found.evidence
    assert said in found.evidence


@pytest.mark.parametrize("code", [code for code in TITLES if code not in ("C9", "C15", "C16")])
def test_a_check_alone_passes_an_honest_model(code: str) -> None:
    found = asked(code, honest())
    assert found.verdict == ("report" if code == "C10" else "pass"), found.evidence


@functools.cache
def struck_honest() -> Bench:
    effort = replace(QUICK, hard_label=Arm("RayS", "rays", {"queries": 20}, white=False), second=CHEAP.second[:1])
    return struck(bench_of(MLP(), effort=effort, known=claimed(False)))


def honest() -> Bench:
    """Return a copy of the honest bench for one check alone."""
    bench = copy.copy(struck_honest())
    bench.white, bench.fallen = bench.white.clone(), dict(bench.fallen)
    return bench


def test_every_check_that_can_fail_has_a_specimen() -> None:
    assert {code for code, _, _ in [*FAILS.values(), *WARNS.values()]} | {"C9", "C14", "C15", "C16"} == set(TITLES)
    assert {**runner._FIRST, "C9": None, **runner._LAST}.keys() == TITLES.keys()


def test_transfer_alone_finds_what_no_gradient_attack_was_asked_for() -> None:
    surrogate = ("its own twin", of_model(MLP()))
    bench = bench_of(masked.Quantised(MLP(), 16))
    found = rivals.transfer(bench, surrogates=(surrogate,))
    assert found.verdict == "fail"
    assert "its own twin alone broke" in found.evidence
    assert rivals.transfer(honest(), surrogates=(("another", of_model(trained("MLP 32"))),)).verdict == "pass"


def test_other_changes_are_figures_of_this_model() -> None:
    found, deaf = (asked("C15", bench_of(model)) for model in (MLP(), masked.Scaled(MLP(), -1.0)))
    assert found.verdict == deaf.verdict == "report"
    share = float((MLP()(digits()[1].x[:N] * 0.5 + 0.25).argmax(1) == digits()[1].labels[:N]).float().mean())
    assert f"half contrast {100 * share:.1f} %" in found.evidence
    assert found.evidence != deaf.evidence


def test_attacks_that_were_used_name_their_distribution() -> None:
    assert "attacks of none" in asked("C16", bench_of(MLP())).evidence
    assert "attacks of robustcl" in asked("C16", struck(bench_of(MLP()))).evidence


# --- the looks of C14


class Dice(torch.autograd.Function):
    """The identity; each backward pass leaves another half of the gradient."""

    passes = 0

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        Dice.passes += 1
        (gradient,) = gradients
        return gradient * Rng(Dice.passes).uniform(gradient.shape).round() * 2


class Throwing(masked.Wrapped):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(Dice.apply(x))
        return y


class Whispering(masked.Wrapped):
    """A hard vote, and a whisper of the logits beside it: a gradient that is there and says nothing can change."""

    def forward(self, x: Tensor) -> Tensor:
        logits = self.net(x)
        return 10.0 * nn.functional.one_hot(logits.argmax(1), logits.shape[1]) + 1e-5 * logits


LOOKS: dict[str, Callable[[], nn.Module]] = {
    "_finite": lambda: masked.NaNGradient(MLP()),
    "_alive": lambda: masked.Quantised(MLP(), 16),
    "_strong": lambda: Whispering(MLP()),
    "_repeatable": lambda: Throwing(MLP()),
    "_true": lambda: masked.Lying(MLP(), "negated"),
    "_useful": lambda: masked.Sawtooth(MLP(), 0.01, 2000.0),
    "_continuous": lambda: masked.winners(MLP(), 6),
    "_unsaturated": lambda: masked.Scaled(MLP(), 100.0),
}
"""Look -> the model that it is for."""


def looked(look: str, model: nn.Module) -> Any:
    bench = bench_of(model.eval())
    rows = bench.correct.nonzero()[:, 0]
    (found,) = [one for one in gradients._LOOKS if one.__name__ == look]
    return found(bench, slopes.measure_slopes(bench, rows))


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_at_gradients_alone_sees_its_specimen_and_no_honest_model(look: str) -> None:
    fault = looked(look, LOOKS[look]())
    assert fault is not None
    verdict, said, where = fault
    assert verdict == ("warn" if look == "_unsaturated" else "fail"), said
    assert bool(where.any())
    assert looked(look, MLP()) is None
    assert looked(look, trained("MLP GELU")) is None


def test_every_look_has_a_specimen_and_the_check_reports_each() -> None:
    assert [look.__name__ for look in gradients._LOOKS] == list(LOOKS)
    for look, model in LOOKS.items():
        found = asked("C14", bench_of(model().eval()))
        assert found.verdict in ("fail", "warn"), look
        assert found.samples, look


def test_a_cut_graph_is_no_gradient() -> None:
    bench = bench_of(masked.Detached(MLP()).eval())
    found = asked("C14", bench)
    assert (found.verdict, bench.flat) == ("fail", "the model gives no gradient (C14)")
