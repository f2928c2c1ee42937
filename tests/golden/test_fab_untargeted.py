"""Untargeted FAB: the nearest class of all at each step, in closed form on linear models and beside naked loops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from robustcl import promises
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.types import Attack, Embedding, Oracle
from robustcl_plugins.generators.fab import FAB
from robustcl_plugins.generators.fab_untargeted import FABUntargeted

pytestmark = pytest.mark.golden("generator", "fab-untargeted")

DUAL = {"Linf": 1, "L2": 2, "L1": float("inf")}


def attack_on(net: nn.Module, x: Tensor, label: Tensor, ball: Ball) -> Attack:
    rows = torch.arange(len(x))
    return Attack(
        oracle=Oracle(
            encode=lambda v, places: Embedding(logits=net(v)),
            clean=lambda places: Embedding(logits=net(x[places]).detach()),
        ),
        ball=ball,
        rng=Rng(0, "fab").for_rows(rows),
        label=label,
        index=rows,
        places=rows,
    )


def linear(classes: int) -> nn.Module:
    net = nn.Linear(5, classes, bias=False).double().requires_grad_(False)
    net.weight.copy_(Rng(classes, "weight").normal((classes, 5), dtype=torch.float64))
    return net


def curved() -> nn.Module:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 5))
    net[2].weight.data.mul_(3.0)
    return net.requires_grad_(False)


@pytest.mark.parametrize("norm", sorted(DUAL))
@pytest.mark.parametrize("classes", [2, 3, 12])
def test_one_walk_finds_the_nearest_of_all_classes_of_a_linear_model(norm, classes):
    """min over l of |f_l - f_y| / |w_l - w_y| in the dual norm; targeted FAB needs a walk for each class."""
    net, ball = linear(classes), Ball(norm, 100.0, None)
    x = Rng(0, "images").uniform((8, 5), dtype=torch.float64) - 0.5
    logits = net(x)
    label = logits.argmax(1)
    gap = logits.gather(1, label[:, None]) - logits
    length = torch.linalg.vector_norm(net.weight[label][:, None] - net.weight, ord=DUAL[norm], dim=2)
    expected = (gap / length).scatter(1, label[:, None], torch.inf).amin(1)
    adv = promises.perturb(FABUntargeted(steps=3, eta=1 + 1e-6), "it", x, attack_on(net, x, label, ball), modules=[net])
    torch.testing.assert_close(ball.distance(adv, x), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("norm", sorted(DUAL))
def test_the_boundary_is_the_nearest_one_in_naked_loops(norm):
    net, x = curved(), Rng(1, "images").uniform((30, 6))
    label = torch.arange(30) % 5
    leaf = x.clone().requires_grad_()
    value, slope = FABUntargeted().boundary(net(leaf), leaf, label, label, norm)
    chosen = set()
    for row in range(30):
        best, nearest = float("inf"), -1
        for other in range(5):
            if other == int(label[row]):
                continue
            one = x[row].clone().requires_grad_()
            logits = net(one)
            (gradient,) = torch.autograd.grad(logits[other] - logits[label[row]], one)
            margin = (logits[other] - logits[label[row]]).item()
            distance = abs(margin) / float(torch.linalg.vector_norm(gradient, ord=DUAL[norm]))
            if distance < best:
                best, nearest, expected = distance, other, (margin, gradient)
        chosen.add(nearest)
        assert value[row].item() == pytest.approx(expected[0], abs=1e-5)
        torch.testing.assert_close(slope[row], expected[1], rtol=1e-4, atol=1e-5)
    assert len(chosen) > 2, "the case must have several nearest classes"


@pytest.mark.parametrize("norm", sorted(DUAL))
def test_on_curved_models_it_comes_as_near_as_all_targets_together(norm):
    net, ball = curved(), Ball(norm, {"Linf": 0.5, "L2": 1.0, "L1": 2.0}[norm])
    x = Rng(2, "images").uniform((40, 6))
    label = net(x).argmax(1)
    attack = attack_on(net, x, label, ball)
    adv = promises.perturb(FABUntargeted(steps=30), "it", x, attack, modules=[net])
    found = ball.distance(adv, x) > 0
    wanted = ball.distance(promises.perturb(FAB(steps=30), "it", x, attack, modules=[net]), x)
    assert int(found.sum()) >= 10
    assert bool((net(adv).argmax(1) != label)[found].all())
    assert float((ball.distance(adv, x)[found] / wanted[found]).median()) < 1.05


def test_flat_directions_are_passed_over():
    """The logit of class 2 depends on nothing: only class 1 can be walked to."""
    net = nn.Linear(2, 3, bias=True).requires_grad_(False)
    net.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]]))
    net.bias.copy_(torch.tensor([0.0, 1.5, -0.1]))
    x, label = torch.tensor([[0.9, 0.5]]), torch.tensor([0])
    adv = FABUntargeted(steps=3).perturb(x, attack_on(net, x, label, Ball("Linf", 0.5)))
    assert int(net(adv).argmax(1)) == 1
    assert float((adv - x).abs().max()) < 0.2
