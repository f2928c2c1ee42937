"""Auto-PGD beside naked loops of its papers, closed forms of linear models, and hand-computed losses."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robustcl import promises, registry
from robustcl.errors import UsageError
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.types import Attack, Embedding, Oracle
from robustcl_plugins.generators import auto_step
from robustcl_plugins.generators.apgd import APGD
from robustcl_plugins.generators.apgd_targeted import APGDTargeted
from robustcl_plugins.generators.margin import dlr, likely_targets, margin, target_count, targeted_dlr

APGD_CE = registry.get("attack", "apgd-ce")
APGD_DLR = registry.get("attack", "apgd-dlr")
APGD_T = registry.get("attack", "apgd-t")

EPS = {"Linf": 0.08, "L2": 0.3, "L1": 0.8}
Net = Callable[[Tensor], Tensor]


def smooth(features: int = 12, classes: int = 6, seed: int = 0, scale: float = 6.0) -> Net:
    """A two-layer network in float64, bent enough that steps have to shrink."""
    draw = torch.Generator().manual_seed(seed)
    first = torch.randn(24, features, generator=draw, dtype=torch.float64) * scale / math.sqrt(features)
    second = torch.randn(classes, 24, generator=draw, dtype=torch.float64)
    return lambda x: torch.sin(x.flatten(1) @ first.T) @ second.T


def images(rows: int, features: int = 12, seed: int = 1) -> Tensor:
    return torch.rand(rows, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def setting(net: Net, x: Tensor, ball: Ball, *, verdict: bool = False, label: Tensor | None = None) -> Attack:
    label = net(x).argmax(1) if label is None else label
    rows = torch.arange(len(x))
    known = {"fooled": lambda e, places: e.logits.argmax(1) != label[places]} if verdict else {}
    return Attack(
        oracle=Oracle(
            encode=lambda v, places: Embedding(logits=net(v)),
            clean=lambda places: Embedding(logits=net(x[places])),
            **known,
        ),
        ball=ball,
        rng=Rng(0, "test").for_rows(rows),
        label=label,
        index=rows,
        places=rows,
    )


def seen_by(generator: object, net: Net, x: Tensor, ball: Ball, **more: object) -> tuple[list[Tensor], Tensor]:
    """Return every input that the network was asked about, and the attack's answer."""
    asked: list[Tensor] = []

    def spy(v: Tensor) -> Tensor:
        asked.append(v.detach().clone())
        return net(v)

    attack = setting(net, x, ball, **more).but(encode=lambda v, places: Embedding(logits=spy(v)))
    return asked, promises.perturb(generator, "it", x, attack, modules=[])


def bisect(length: Callable[[float], float], wanted: float, low: float, high: float) -> float:
    """Return where a rising function reaches a value."""
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if length(middle) < wanted else (low, middle)
    return low


def nearest(point: Tensor, x: Tensor, ball: Ball) -> Tensor:
    """Project one row onto ball and box, by bisection."""
    if ball.norm == "Linf":
        return torch.minimum(torch.maximum(point, x - ball.eps), x + ball.eps).clamp(0, 1)
    move, order = point - x, {"L2": 2.0, "L1": 1.0}[ball.norm]

    def shrunk(by: float) -> Tensor:
        less = move * (1 - by) if ball.norm == "L2" else move.sign() * (move.abs() - by).clamp(min=0)
        return (x + less).clamp(0, 1)

    def length(by: float) -> float:
        return float(torch.linalg.vector_norm(shrunk(by) - x, ord=order))

    if length(0.0) <= ball.eps:
        return shrunk(0.0)
    return shrunk(bisect(lambda by: -length(by), -ball.eps, 0.0, 1.0 if ball.norm == "L2" else float(move.abs().max())))


def steepest(net: Net, at: Tensor, label: Tensor) -> tuple[float, Tensor]:
    leaf = at.clone().requires_grad_()
    loss = F.cross_entropy(net(leaf[None]), label[None])
    return loss.item(), torch.autograd.grad(loss, leaf)[0]


def naked_halving(
    net: Net, x: Tensor, label: Tensor, ball: Ball, steps: int, start: Tensor
) -> tuple[list[Tensor], int]:
    """Algorithm 1 of Croce and Hein, ICML 2020, for one row: its iterates, and how often it went back."""
    p = [0, 22]
    while p[-1] < 100:
        p.append(p[-1] + max(p[-1] - p[-2] - 3, 6))
    w = [math.ceil(round(share * steps / 100, 9)) for share in p]
    eta, now, before, backs = 2 * ball.eps, start, start, 0
    value, gradient = steepest(net, now, label)
    values, path = [value], [now]
    best, best_value, best_gradient = now, value, gradient
    eta_then, best_then = eta, value
    for k in range(steps):
        if ball.norm == "Linf":
            z = nearest(now + eta * gradient.sign(), x, ball)
        else:
            z = nearest(now + eta * gradient / gradient.norm(), x, ball)
        following = z if k == 0 else nearest(now + 0.75 * (z - now) + 0.25 * (now - before), x, ball)
        before, now = now, following
        value, gradient = steepest(net, now, label)
        values.append(value)
        path.append(now)
        if value > best_value:
            best, best_value, best_gradient = now, value, gradient
        if k + 1 in w:
            last = w[w.index(k + 1) - 1]
            rises = sum(values[i + 1] > values[i] for i in range(last, k + 1))
            halve = rises < 0.75 * (k + 1 - last) or (eta == eta_then and best_value == best_then)
            eta_then, best_then = eta, best_value
            if halve:
                eta, now, gradient, backs = eta / 2, best, best_gradient, backs + 1
    return path, backs


def naked_sparse(net: Net, x: Tensor, label: Tensor, ball: Ball, steps: int, start: Tensor) -> tuple[list[Tensor], int]:
    """l1-APGD of Croce and Hein, ICML 2021, for one row: its iterates, and how often it went back."""
    k, changed, eta, now, backs = math.ceil(len(x) / 5), len(x), ball.eps, start, 0
    value, gradient = steepest(net, now, label)
    path, best, best_value, best_gradient = [now], now, value, gradient
    for step in range(1, steps + 1):
        u = torch.zeros_like(x)
        for i in gradient.abs().argsort(descending=True)[:k].tolist():
            u[i] = gradient[i].sign() / k
        now = nearest(now + eta * u, x, ball)
        value, gradient = steepest(net, now, label)
        path.append(now)
        if value > best_value:
            best, best_value, best_gradient = now, value, gradient
        if step % max(steps // 25, 1) == 0:
            nonzero = int(((best - x).abs() > 1e-12).sum())
            if nonzero / changed < 0.95:
                eta, now, gradient, backs = ball.eps, best, best_gradient, backs + 1
            else:
                eta = max(eta / 1.5, ball.eps / 10)
            k, changed = max(math.ceil(nonzero / 1.5), 1), nonzero
    return path, backs


@pytest.mark.golden("generator", "apgd")
@pytest.mark.parametrize("steps", [20, 100])
@pytest.mark.parametrize(("norm", "naked"), [("Linf", naked_halving), ("L2", naked_halving), ("L1", naked_sparse)])
def test_every_iterate_is_that_of_the_naked_loop(norm, naked, steps):
    net, ball, went_back = smooth(scale=20.0), Ball(norm, EPS[norm]), 0
    for seed in range(2):
        x = images(1, seed=seed)
        label = net(x).argmax(1)
        asked, adv = seen_by(APGD(steps=steps, largereps=False if norm == "L1" else None), net, x, ball)
        path, backs = naked(net, x[0], label[0], ball, steps, asked[0][0])
        assert len(asked) == steps + 1 == len(path)
        torch.testing.assert_close(torch.cat(asked), torch.stack(path), rtol=0, atol=1e-6)
        best = max(path, key=lambda point: steepest(net, point, label[0])[0])
        torch.testing.assert_close(adv[0], best, rtol=0, atol=1e-6)
        went_back += backs
    assert went_back >= 4, "the example never leaves the first step size: it would prove nothing"


def test_checkpoints_and_budgets_are_the_published_ones():
    assert auto_step.checkpoints(100) == (22, 41, 57, 70, 80, 87, 93, 99)
    assert auto_step.checkpoints(10) == (3, 5, 6, 7, 8, 9, 10)
    assert auto_step.checkpoints(1) == (1,)
    assert auto_step.budgets(100) == ((3.0, 30), (2.0, 30), (1.0, 40))
    assert auto_step.budgets(1) == ((1.0, 1),)


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_the_start_touches_the_ball(norm):
    x = torch.full((5, 3, 4, 4), 0.5, dtype=torch.float64)
    ball = Ball(norm, torch.linspace(0.0, 0.2, 5, dtype=torch.float64))
    start = auto_step.start(x, ball, Rng(0).for_rows(torch.arange(5)))
    torch.testing.assert_close(ball.distance(start, x), ball.eps, rtol=0, atol=1e-12)


def test_a_row_that_finds_nothing_better_halves_at_every_second_checkpoint():
    """Condition 2 alone: the loss rises at every step, but never back to the start's; and not twice in a row."""
    x = torch.full((1, 4), 0.5, dtype=torch.float64)
    moves = auto_step.schedule(x, Ball("Linf", 0.1), steps=100)
    high = torch.tensor([1e3])
    moves.adapt(0, high, x, high)
    heard = [moves.adapt(done, torch.tensor([float(done)]), x, high) for done in range(1, 100)]
    backs = [done for done, back in enumerate(heard, start=1) if back is not None and bool(back)]
    assert backs == [22, 57, 80, 93]


@pytest.mark.parametrize("norm", EPS)
def test_rows_that_stay_keep_their_own_schedule(norm):
    """Take rows out midway: the others move as if the rest had never been there."""
    x, rows = images(6), torch.tensor([4, 1, 3])
    eps = torch.linspace(0.5, 1.0, 6, dtype=torch.float64) * EPS[norm]
    draw = torch.Generator().manual_seed(0)
    loss = (torch.randn(60, 6, generator=draw, dtype=torch.float64) + torch.linspace(-1, 2, 6)).cumsum(0)
    slope = torch.randn(60, 6, 12, generator=draw, dtype=torch.float64)
    whole, part = (auto_step.schedule(x[r], Ball(norm, eps[r]), steps=60) for r in (torch.arange(6), rows))
    some = torch.arange(6)
    adv, alone = x, x[rows]
    best, best_loss = x, torch.full((6,), -torch.inf, dtype=torch.float64)
    for step in range(60):
        if step == 39:
            whole.take(rows)
            adv, best, best_loss, some = adv[rows], best[rows], best_loss[rows], rows
        better = loss[step, some] > best_loss
        best = torch.where(better[:, None], adv, best)
        best_loss = torch.where(better, loss[step, some], best_loss)
        mine = slice(None) if step >= 39 else rows
        back = whole.adapt(step, loss[step, some], best, best_loss)
        again = part.adapt(step, loss[step, rows], best[mine], best_loss[mine])
        assert (back is None) == (again is None)
        if back is not None and again is not None:
            adv, alone = torch.where(back[:, None], best, adv), torch.where(again[:, None], best[mine], alone)
        adv, alone = whole.move(adv, slope[step, some]), part.move(alone, slope[step, rows])
        torch.testing.assert_close(adv[mine], alone, rtol=0, atol=1e-12)


def optimum(weight: Tensor, x: Tensor, ball: Ball) -> float:
    """How far a linear function of one row can rise inside ball and box."""
    room = torch.where(weight > 0, 1 - x, x)
    if ball.norm == "Linf":
        return float((weight.abs() * room.clamp(max=ball.eps)).sum())
    if ball.norm == "L2":
        by = bisect(lambda t: float((t * weight.abs()).minimum(room).norm()), ball.eps, 0.0, 1e4)
        return float(weight.abs() @ (by * weight.abs()).minimum(room))
    left, gain = ball.eps, 0.0
    for i in weight.abs().argsort(descending=True).tolist():
        spent = min(left, float(room[i]))
        left, gain = left - spent, gain + spent * float(weight[i].abs())
    return gain


@pytest.mark.golden("attack", "apgd-ce")
@pytest.mark.golden("attack", "apgd-dlr")
@pytest.mark.golden("attack", "apgd-t")
@pytest.mark.parametrize("attacks", [APGD_CE, APGD_DLR, APGD_T])
@pytest.mark.parametrize(("norm", "eps"), [("Linf", 0.1), ("L2", 0.9), ("L1", 1.7)])
def test_a_linear_model_is_brought_down_as_far_as_ball_and_box_allow(attacks, norm, eps):
    weight = torch.randn(2, 30, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    x, ball = images(6, 30), Ball(norm, eps)
    attack = setting(lambda v: v @ weight.T, x, ball)
    ((_, generator),) = attacks().members(2, ball)
    adv = promises.perturb(generator, "it", x, attack, modules=[])
    toward = weight[1 - attack.label] - weight[attack.label]
    best = torch.tensor([optimum(w, row, ball) for w, row in zip(toward, x, strict=True)], dtype=torch.float64)
    torch.testing.assert_close(((adv - x) * toward).sum(1), best, rtol=0, atol=1e-6)


@pytest.mark.golden("generator", "apgd")
def test_dlr_by_hand():
    logits = torch.tensor([[5.0, 3.0, 1.0, -2.0], [5.0, 3.0, 1.0, -2.0], [0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(dlr(logits, torch.tensor([0, 1, 2])), torch.tensor([-2 / 4, 2 / 4, 0.0]))
    torch.testing.assert_close(dlr(100 * logits + 7, torch.tensor([0, 1, 2])), torch.tensor([-0.5, 0.5, 0.0]))
    torch.testing.assert_close(dlr(logits[:2, :2], torch.tensor([0, 1])), torch.tensor([-2.0, 2.0]))


@pytest.mark.golden("generator", "apgd-targeted")
def test_targeted_dlr_by_hand():
    logits = torch.tensor([[5.0, 3.0, 1.0, -2.0, -9.0]])
    zero, one, two, three = (torch.tensor([i]) for i in range(4))
    torch.testing.assert_close(targeted_dlr(logits, zero, three), torch.tensor([-7 / (5 - (1 - 2) / 2)]))
    torch.testing.assert_close(targeted_dlr(logits, one, zero), torch.tensor([2 / (5 - (1 - 2) / 2)]))
    torch.testing.assert_close(targeted_dlr(logits[:, :3], zero, two), torch.tensor([-4 / (5 - (3 + 1) / 2)]))
    torch.testing.assert_close(targeted_dlr(logits[:, :2], zero, one), torch.tensor([-2.0]))
    torch.testing.assert_close(margin(logits, zero, three), torch.tensor([-7.0]))
    assert float(targeted_dlr(torch.zeros(1, 4), zero, one)) == 0.0
    wrong = likely_targets(torch.tensor([[1.0, 4.0, 2.0, 3.0]]), one, 2)
    assert wrong.tolist() == [[3, 2]]
    assert likely_targets(torch.tensor([[1.0, 4.0, 2.0, 3.0]]), one, None).tolist() == [[3, 2, 0]]


@pytest.mark.golden("generator", "apgd-targeted")
@pytest.mark.parametrize("classes", [2, 3, 4, 8, 10])
def test_any_number_of_classes_has_a_gradient_toward_every_target(classes):
    logits = torch.randn(1, classes, generator=torch.Generator().manual_seed(classes)).sort(descending=True).values
    for target in range(1, classes):
        leaf = logits.clone().requires_grad_()
        targeted_dlr(leaf, torch.tensor([0]), torch.tensor([target])).sum().backward()
        assert leaf.grad is not None
        assert float(leaf.grad.abs().max()) > 1e-3, f"nothing to climb toward class {target}"
    net, x, ball = smooth(classes=classes), images(6), Ball("Linf", 0.3)
    for generator in (APGD(steps=20, loss="dlr"), APGDTargeted(steps=20), APGDTargeted(steps=20, targets=1)):
        attack = setting(net, x, ball, verdict=True)
        adv = promises.perturb(generator, "it", x, attack, modules=[])
        assert int(attack.fooled(Embedding(logits=net(adv))).sum()) >= 5


@pytest.mark.golden("generator", "apgd-targeted")
@pytest.mark.parametrize("norm", EPS)
@pytest.mark.parametrize("generator", [APGD(steps=15, restarts=2), APGDTargeted(steps=8, targets=3)])
@pytest.mark.parametrize("verdict", [False, True])
def test_rows_do_not_see_each_other(norm, generator, verdict):
    net, x, ball = smooth(), images(8), Ball(norm, EPS[norm] / 2)
    attack = setting(net, x, ball, verdict=verdict)
    together = generator.perturb(x, attack)
    for i in range(8):
        row = torch.tensor([i])
        alone = generator.perturb(x[row], attack.take(row).but(clean=lambda p: Embedding(logits=net(x[p]))))
        torch.testing.assert_close(together[row], alone, rtol=0, atol=1e-6)


@pytest.mark.golden("generator", "apgd-targeted")
@pytest.mark.parametrize("norm", EPS)
@pytest.mark.parametrize("generator", [APGD(steps=20), APGD(steps=20, loss="dlr"), APGDTargeted(steps=10, targets=4)])
def test_leaving_early_fools_the_same_rows(norm, generator):
    net, x, ball = smooth(), images(24), Ball(norm, 0.35 * EPS[norm])
    label = net(x).argmax(1)
    asked, early = seen_by(generator, net, x, ball, verdict=True)
    whole = promises.perturb(generator, "it", x, setting(net, x, ball), modules=[])
    fooled = net(early).argmax(1) != label
    if not (isinstance(generator, APGD) and generator.loss == "cross-entropy"):
        assert torch.equal(fooled, net(whole).argmax(1) != label), "these losses are positive where a row is fooled"
    assert bool((fooled | (net(whole).argmax(1) == label)).all())
    assert 0 < int(fooled.sum()) < 24, "the example is too easy or too hard to prove anything"
    assert len(asked[-1]) == int((~fooled).sum()), "fooled rows are still in the batch"
    standing = ~fooled
    torch.testing.assert_close(early[standing], whole[standing], rtol=0, atol=1e-9)


@pytest.mark.golden("generator", "apgd")
def test_only_the_judge_lets_a_row_go():
    net, x, ball = smooth(), images(4), Ball("Linf", 0.3)
    attack = setting(net, x, ball, verdict=True)
    asked: list[int] = []

    def never(candidates: Tensor, places: Tensor) -> Tensor:
        asked.append(len(candidates))
        return torch.zeros(len(candidates), dtype=torch.bool)

    doubted = APGD(steps=12).perturb(x, attack.but(breaks=never))
    torch.testing.assert_close(doubted, APGD(steps=12).perturb(x, setting(net, x, ball)), rtol=0, atol=0)
    assert asked, "nobody asked the judge"


@pytest.mark.golden("generator", "apgd")
@pytest.mark.parametrize("norm", EPS)
def test_more_restarts_are_never_worse(norm):
    net, x, ball = smooth(), images(16), Ball(norm, EPS[norm])
    label = net(x).argmax(1)
    losses = [
        F.cross_entropy(net(APGD(steps=6, restarts=n).perturb(x, setting(net, x, ball))), label, reduction="none")
        for n in (1, 2, 4)
    ]
    assert bool((losses[1] >= losses[0]).all())
    assert bool((losses[2] >= losses[1]).all())
    assert bool((losses[2] > losses[0]).any()), "restarts repeat each other"


@pytest.mark.golden("generator", "apgd-targeted")
@settings(max_examples=25, deadline=None)
@given(st.sampled_from(list(EPS)), st.floats(0.0, 2.0), st.integers(1, 9), st.booleans(), st.integers(0, 9))
def test_nothing_leaves_ball_and_range(norm, share, steps, bounded, seed):
    x = images(3, seed=seed).float().round(decimals=1)
    ball = Ball(norm, EPS[norm] * share, (0.0, 1.0) if bounded else None)
    net = smooth(seed=seed)
    for generator in (APGD(steps=steps), APGDTargeted(steps=steps, targets=2)):
        attack = setting(lambda v: net(v.double()).bfloat16(), x, ball, verdict=seed % 2 == 0)
        promises.perturb(generator, "it", x, attack, modules=[])


@pytest.mark.golden("generator", "apgd")
def test_averages_over_a_model_that_draws():
    """Two weights by turns whose mean is known: two passes see the mean, and climb as if nothing were drawn."""
    weight = torch.randn(2, 10, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    noise, turn = 4 * torch.randn(2, 10, generator=torch.Generator().manual_seed(4), dtype=torch.float64), [1.0]

    def drawing(v: Tensor) -> Tensor:
        turn[0] = -turn[0]
        return v @ (weight + turn[0] * noise).T

    x, ball = images(4, 10), Ball("L2", 0.5)
    label = (x @ weight.T).argmax(1)
    plain, calm = seen_by(APGD(steps=15, loss="dlr"), lambda v: v @ weight.T, x, ball, label=label)
    asked, averaged = seen_by(APGD(steps=15, loss="dlr", eot=2), drawing, x, ball, label=label)
    assert len(asked) == 2 * len(plain)
    torch.testing.assert_close(averaged, calm, rtol=0, atol=1e-9)
    _, noisy = seen_by(APGD(steps=15, loss="dlr"), drawing, x, ball, label=label)
    assert float((noisy - calm).abs().max()) > 1e-3


@pytest.mark.golden("generator", "apgd")
def test_l1_comes_down_from_larger_balls_and_counts_only_the_true_one():
    net, x, ball = smooth(), images(6), Ball("L1", 0.4)
    asked, _ = seen_by(APGD(steps=10), net, x, ball)
    reach = [float(Ball("L1", 1.0).distance(point, x).max()) / 0.4 for point in asked]
    assert len(asked) == 13, "three phases, each with a last forward pass"
    assert max(reach[:4]) == pytest.approx(3.0)
    assert max(reach[4:8]) == pytest.approx(2.0)
    assert max(reach[8:]) == pytest.approx(1.0)
    asked, early = seen_by(APGD(steps=10), net, x, ball, verdict=True)
    assert [len(point) for point in asked[:8]] == [6] * 8, "a row left from a ball that is too large"
    assert bool(ball.contains(early, x).all())
    assert len(seen_by(APGD(steps=10, largereps=False), net, x, ball)[0]) == 11


@pytest.mark.golden("generator", "apgd")
@pytest.mark.parametrize("generator", [APGD(largereps=True), APGDTargeted(largereps=True)])
def test_larger_balls_are_refused_elsewhere(generator):
    net, x = smooth(), images(2)
    with pytest.raises(UsageError, match=r"largereps = true is an attack in L1, but the threat's norm is Linf"):
        generator.perturb(x, setting(net, x, Ball("Linf", 0.1)))


@pytest.mark.golden("generator", "apgd")
@pytest.mark.parametrize("norm", EPS)
def test_losses_that_are_not_finite_are_never_the_best(norm):
    net, x, ball = smooth(), images(8), Ball(norm, EPS[norm])

    def holes(v: Tensor) -> Tensor:
        return torch.where((v - x)[:, :1] > 0.01, torch.nan, net(v))

    asked, adv = seen_by(APGD(steps=25, largereps=False if norm == "L1" else None), holes, x, ball)
    finite = torch.stack([holes(point).isfinite().all(1) for point in asked])
    assert bool((finite.any(0) & ~finite.all(0)).any()), "the example has no holes on the way"
    assert bool(holes(adv).isfinite().all())
    label = net(x).argmax(1)
    losses = torch.stack([F.cross_entropy(holes(point), label, reduction="none") for point in asked])
    best = losses.nan_to_num(nan=-torch.inf).amax(0)[finite.any(0)]
    met = F.cross_entropy(holes(adv), label, reduction="none")[finite.any(0)]
    torch.testing.assert_close(met, best, rtol=0, atol=1e-9)
    never = ~finite.any(0)
    assert torch.equal(adv[never], x[never]), "nothing else was there"
    nowhere = APGD(steps=3).perturb(x, setting(lambda v: net(v) * torch.nan, x, ball))
    assert torch.equal(nowhere, x)


@pytest.mark.golden("generator", "apgd")
def test_costs_one_forward_and_backward_per_step_and_a_last_forward():
    net, x = smooth(), images(3)
    passes = {"forward": 0, "backward": 0}

    def counting(v: Tensor) -> Tensor:
        passes["forward"] += 1
        logits = net(v)
        if logits.requires_grad:
            logits.register_hook(lambda g: passes.update(backward=passes["backward"] + 1))
        return logits

    attack = setting(net, x, Ball("Linf", 0.01)).but(encode=lambda v, places: Embedding(logits=counting(v)))
    APGD(steps=9, restarts=2).perturb(x, attack)
    assert passes == {"forward": 20, "backward": 18}


@pytest.mark.golden("attack", "apgd-ce")
@pytest.mark.golden("attack", "apgd-dlr")
@pytest.mark.golden("attack", "apgd-t")
def test_attacks_have_the_published_settings():
    ball = Ball("Linf", 8 / 255)
    ((name, ce),) = APGD_CE(restarts=5, eot=20).members(10, ball)
    assert (name, ce.steps, ce.loss, ce.restarts, ce.eot, ce.rho) == ("apgd-ce", 100, "cross-entropy", 5, 20, 0.75)
    ((name, ratio),) = APGD_DLR().members(10, ball)
    assert (name, ratio.steps, ratio.loss, ratio.restarts, ratio.eot) == ("apgd-dlr", 100, "dlr", 1, 1)
    ((name, aimed),) = APGD_T().members(10, ball)
    assert (name, aimed.steps, aimed.targets, aimed.restarts, aimed.eot) == ("apgd-t", 100, None, 1, 1)
    assert [target_count(aimed.targets, classes, "apgd-t") for classes in (2, 10, 11, 1000)] == [1, 9, 9, 9]


@pytest.mark.golden("generator", "apgd-targeted")
@pytest.mark.golden("attack", "apgd-t")
def test_more_targets_than_wrong_classes_are_refused_and_left_out_takes_all() -> None:
    net, x, ball = smooth(classes=4), images(6), Ball("Linf", 0.1)
    attack = setting(net, x, ball)
    usual = APGDTargeted(steps=3).perturb(x, attack)
    assert torch.equal(usual, APGDTargeted(steps=3, targets=3).perturb(x, attack))
    said = "targets = 4, but of 4 classes only 3 are wrong for an image: write 3 or fewer, or leave targets out"
    with pytest.raises(UsageError, match=f"apgd-targeted: {said}"):
        APGDTargeted(steps=3, targets=4).perturb(x, attack)
    with pytest.raises(UsageError, match=f"apgd-t: {said}"):
        APGD_T(targets=4).members(4, ball)
    assert APGD_T(targets=3).members(4, ball)
