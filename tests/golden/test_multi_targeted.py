"""Multi-targeted PGD beside a naked loop, its guarantee on linear models, and what it costs."""

from __future__ import annotations

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
from robustcl_plugins.generators.multi_targeted_pgd import MultiTargetedPGD

MT_PGD = registry.get("attack", "mt-pgd")

EPS = {"Linf": 0.05, "L2": 0.15, "L1": 0.3}


def network(classes: int = 5) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(classes)
    first = torch.randn(16, 10, generator=draw, dtype=torch.float64)
    return first, torch.randn(classes, 16, generator=draw, dtype=torch.float64)


def logits_of(x: Tensor, classes: int = 5) -> Tensor:
    first, second = network(classes)
    return torch.tanh(x.flatten(1) @ first.T) @ second.T


def setting(x: Tensor, ball: Ball, classes: int = 5, *, verdict: bool = False, asked: list[Tensor] | None = None):
    rows, label = torch.arange(len(x)), logits_of(x, classes).argmax(1)
    known = {"fooled": lambda e, places: e.logits.argmax(1) != label[places]} if verdict else {}

    def encode(v: Tensor, places: Tensor) -> Embedding:
        if asked is not None:
            asked.append(v.detach().clone())
        return Embedding(logits=logits_of(v, classes))

    return Attack(
        oracle=Oracle(encode=encode, clean=lambda places: Embedding(logits=logits_of(x[places], classes)), **known),
        ball=ball,
        rng=Rng(0, "test").for_rows(rows),
        label=label,
        index=rows,
        places=rows,
    )


def images(rows: int, seed: int = 1) -> Tensor:
    return torch.rand(rows, 10, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.golden("generator", "multi-targeted-pgd")
def test_every_iterate_is_that_of_the_naked_loop():
    x, eps, step, steps = images(1), 0.05, 0.02, 7
    asked: list[Tensor] = []
    ball = Ball("Linf", eps)
    adv = promises.perturb(
        MultiTargetedPGD(steps=steps, step_size=step), "it", x, setting(x, ball, asked=asked), modules=[]
    )
    clean = logits_of(x)[0]
    label = int(clean.argmax())
    order = [t for t in clean.argsort(descending=True).tolist() if t != label]
    assert len(asked) == len(order) * (steps + 1)
    values = []
    for rank, target in enumerate(order):
        now = asked[rank * (steps + 1)]
        for k in range(steps + 1):
            torch.testing.assert_close(asked[rank * (steps + 1) + k], now, rtol=0, atol=1e-9)
            leaf = now.clone().requires_grad_()
            gap = logits_of(leaf)[0, target] - logits_of(leaf)[0, label]
            values.append((gap.item(), now))
            (gradient,) = torch.autograd.grad(gap, leaf)
            now = (now + step * gradient.sign()).clamp(x - eps, x + eps).clamp(0, 1)
    torch.testing.assert_close(adv, max(values, key=lambda pair: pair[0])[1], rtol=0, atol=1e-9)


@pytest.mark.golden("generator", "multi-targeted-pgd")
@pytest.mark.golden("attack", "mt-pgd")
@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_a_linear_model_gives_its_smallest_margin(norm):
    """Gowal et al.: on a linear model the best target's optimum is the optimum; the likeliest target's need not be."""
    weight = torch.randn(6, 10, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    weight *= torch.tensor([4.0, 0.5, 3.0, 0.3, 2.0, 1.0], dtype=torch.float64)[:, None]
    x, ball = images(8), Ball(norm, 10 * EPS[norm], None)
    rows, label = torch.arange(8), (x @ weight.T).argmax(1)
    attack = setting(x, ball).but(
        label=label,
        encode=lambda v, places: Embedding(logits=v @ weight.T),
        clean=lambda places: Embedding(logits=x[places] @ weight.T),
    )
    away = weight[None] - weight[label][:, None]
    dual = {"Linf": 1.0, "L2": 2.0}[norm]
    reach = (x @ weight.T) - (x @ weight.T)[rows, label][:, None]
    reach = reach + ball.eps * torch.linalg.vector_norm(away, ord=dual, dim=2)
    best = reach.scatter(1, label[:, None], -torch.inf).amax(1)

    def reached(generator: MultiTargetedPGD) -> Tensor:
        logits = promises.perturb(generator, "it", x, attack, modules=[]) @ weight.T
        return logits.scatter(1, label[:, None], -torch.inf).amax(1) - logits[rows, label]

    ((_, all_targets),) = MT_PGD(step_size=EPS[norm]).members(6, ball)
    torch.testing.assert_close(reached(all_targets), best, rtol=0, atol=1e-6)
    one = MultiTargetedPGD(steps=100, step_size=EPS[norm], targets=1)
    assert bool((reached(one) < best - 1e-3).any()), "the example would not need more than one target"


@pytest.mark.golden("generator", "multi-targeted-pgd")
@pytest.mark.parametrize("norm", EPS)
@pytest.mark.parametrize("verdict", [False, True])
def test_rows_do_not_see_each_other(norm, verdict):
    x, ball = images(6), Ball(norm, EPS[norm])
    attack, generator = setting(x, ball, verdict=verdict), MultiTargetedPGD(steps=5, step_size=0.02, restarts=2)
    together = generator.perturb(x, attack)
    for i in range(6):
        row = torch.tensor([i])
        alone = generator.perturb(x[row], attack.take(row))
        torch.testing.assert_close(together[row], alone, rtol=0, atol=1e-9)


@pytest.mark.golden("generator", "multi-targeted-pgd")
def test_leaving_early_fools_the_same_rows():
    x, ball, asked = images(24), Ball("L2", 0.25), []
    label = logits_of(x).argmax(1)
    generator = MultiTargetedPGD(steps=10, step_size=0.05)
    early = promises.perturb(generator, "it", x, setting(x, ball, verdict=True, asked=asked), modules=[])
    whole = promises.perturb(generator, "it", x, setting(x, ball), modules=[])
    fooled = logits_of(early).argmax(1) != label
    assert torch.equal(fooled, logits_of(whole).argmax(1) != label)
    assert 0 < int(fooled.sum()) < 24, "the example is too easy or too hard to prove anything"
    assert len(asked[-1]) == int((~fooled).sum()), "fooled rows are still in the batch"
    torch.testing.assert_close(early[~fooled], whole[~fooled], rtol=0, atol=1e-9)


@pytest.mark.golden("generator", "multi-targeted-pgd")
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_any_number_of_classes_has_its_targets(classes):
    x = images(3)
    for targets, expected in ((None, classes - 1), (1, 1), (classes - 1, classes - 1)):
        asked: list[Tensor] = []
        generator = MultiTargetedPGD(steps=2, step_size=0.01, targets=targets)
        generator.perturb(x, setting(x, Ball("Linf", 0.05), classes, asked=asked))
        assert len(asked) == 3 * expected
    said = f"targets = {classes}, but of {classes} classes only {classes - 1} are wrong"
    with pytest.raises(UsageError, match=f"multi-targeted-pgd: {said}"):
        MultiTargetedPGD(targets=classes).perturb(x, setting(x, Ball("Linf", 0.05), classes))
    with pytest.raises(UsageError, match=f"mt-pgd: {said}"):
        MT_PGD(targets=classes).members(classes, Ball("Linf", 0.05))


@pytest.mark.golden("generator", "multi-targeted-pgd")
def test_more_restarts_are_never_worse():
    x, ball = images(24), Ball("L2", 0.2)
    label, fooled = logits_of(x).argmax(1), []
    for restarts in (1, 4):
        generator = MultiTargetedPGD(steps=1, step_size=0.01, restarts=restarts)
        adv = generator.perturb(x, setting(x, ball, verdict=True))
        fooled.append(logits_of(adv).argmax(1) != label)
    assert bool((fooled[1] | ~fooled[0]).all())
    assert int(fooled[1].sum()) > int(fooled[0].sum()), "restarts repeat each other"


@pytest.mark.golden("generator", "multi-targeted-pgd")
@settings(max_examples=20, deadline=None)
@given(st.sampled_from(list(EPS)), st.floats(0.0, 3.0), st.floats(0.01, 5.0), st.booleans(), st.integers(0, 9))
def test_nothing_leaves_ball_and_range(norm, share, step, bounded, seed):
    x = images(3, seed).float().round(decimals=1)
    ball = Ball(norm, EPS[norm] * share, (0.0, 1.0) if bounded else None)
    attack = setting(x.double(), ball, verdict=bounded).but(
        encode=lambda v, places: Embedding(logits=logits_of(v.double()).bfloat16())
    )
    promises.perturb(MultiTargetedPGD(steps=3, step_size=step), "it", x, attack, modules=[])


@pytest.mark.golden("attack", "mt-pgd")
def test_the_attack_s_options_arrive():
    ball = Ball("Linf", 8 / 255)
    ((name, usual),) = MT_PGD().members(10, ball)
    assert (name, usual.steps, usual.step_size, usual.targets, usual.restarts) == ("mt-pgd", 100, None, None, 1)
    ((_, given_),) = MT_PGD(step_size=0.1, restarts=3, targets=4).members(10, ball)
    assert (given_.step_size, given_.restarts, given_.targets) == (0.1, 3, 4)
