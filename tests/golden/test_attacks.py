"""The evaluation attacks on a linear classifier, and the adapters of foreign libraries beside our own PGD."""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustcl import promises, registry
from robustcl.errors import UsageError
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.types import Attack, Embedding, Oracle
from robustcl_plugins.generators.art_adapter import ART
from robustcl_plugins.generators.pgd import PGD
from robustcl_plugins.generators.torchattacks_adapter import Torchattacks

ONE_STEP = registry.get("attack", "fgsm")
PGD_20 = registry.get("attack", "pgd-20")

EPS = 8 / 255


class Classifier(nn.Module):
    """A small convolutional net with batch norm, so that modes and buffers matter."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 4)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def setting(ball: Ball, rows: int = 6) -> tuple[Tensor, Tensor, Attack, Classifier]:
    torch.manual_seed(0)
    net, x, label = Classifier().eval(), torch.rand(rows, 3, 8, 8), torch.arange(rows) % 4
    attack = Attack(
        oracle=Oracle(
            encode=lambda v, places: Embedding(logits=net(v)),
            objective=lambda embedding, places: nn.functional.cross_entropy(
                embedding.logits, label[places], reduction="none"
            ),
            clean=lambda places: Embedding(logits=net(x[places]).detach()),
        ),
        ball=ball,
        rng=Rng(0, "test").for_rows(torch.arange(rows)),
        label=label,
        index=torch.arange(rows),
        places=torch.arange(rows),
    )
    return x, label, attack, net


def losses(net: nn.Module, adv: Tensor, label: Tensor) -> Tensor:
    with torch.no_grad():
        return nn.functional.cross_entropy(net(adv), label, reduction="none")


def linear_drop(generator: Any, ball: Ball) -> Tensor:
    """How far a generator brings the margin down on a two-class linear model, as a share of what is possible."""
    weight = torch.tensor([[1.0, -2.0, 0.5, 3.0], [-1.0, 0.5, 1.5, -2.0]])
    x, label = torch.full((2, 4), 0.5), torch.tensor([0, 1])
    rows = torch.arange(2)
    attack = Attack(
        oracle=Oracle(
            encode=lambda v, places: Embedding(logits=v @ weight.T),
            objective=lambda e, places: nn.functional.cross_entropy(e.logits, label[places], reduction="none"),
        ),
        ball=ball,
        rng=Rng(0).for_rows(rows),
        label=label,
        index=rows,
        places=rows,
    )
    adv = promises.perturb(generator, "it", x, attack, modules=[])
    toward = weight[label] - weight[1 - label]
    dual = {"Linf": 1.0, "L2": 2.0, "L1": math.inf}[ball.norm]
    return ((x - adv) * toward).sum(1) / (ball.eps * torch.linalg.vector_norm(toward, ord=dual, dim=1))


@pytest.mark.golden("attack", "pgd-20")
@pytest.mark.parametrize(("norm", "eps"), [("Linf", EPS), ("L2", 0.1), ("L1", 0.1)])
def test_pgd_20_takes_the_whole_margin_of_a_linear_model(norm, eps):
    ((name, generator),) = PGD_20(step_size=eps / 4).members(2, Ball(norm, eps))
    assert name == "pgd-20"
    torch.testing.assert_close(linear_drop(generator, Ball(norm, eps)), torch.ones(2), rtol=0, atol=1e-4)


@pytest.mark.golden("attack", "pgd-20")
def test_pgd_20_is_the_field_s_convention_and_its_options_arrive():
    ((_, usual),) = PGD_20().members(10, Ball("Linf", EPS))
    assert (usual.steps, usual.step_size, usual.restarts, usual.start) == (20, None, 1, "uniform")
    ((name, given),) = PGD_20(step_size=0.1, restarts=3).members(10, Ball("Linf", EPS))
    assert (name, given.steps, given.step_size, given.restarts) == ("pgd-20", 20, 0.1, 3)


@pytest.mark.golden("attack", "fgsm")
def test_fgsm_takes_the_whole_margin_of_a_linear_model_at_once():
    ((name, generator),) = ONE_STEP().members(2, Ball("Linf", EPS))
    assert name == "fgsm"
    torch.testing.assert_close(linear_drop(generator, Ball("Linf", EPS)), torch.ones(2), rtol=0, atol=1e-5)


@pytest.mark.golden("generator", "torchattacks")
def test_torchattacks_pgd_is_ours_without_a_random_start():
    pytest.importorskip("torchattacks")
    x, _, attack, net = setting(Ball("Linf", EPS))
    options = {"alpha": "2/255", "steps": 5, "random_start": False}
    theirs = promises.perturb(Torchattacks(attack="PGD", options=options), "it", x, attack, modules=[net])
    ours = promises.perturb(PGD(steps=5, start="none"), "it", x, attack, modules=[net])
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-6)


@pytest.mark.golden("generator", "torchattacks")
@pytest.mark.parametrize("name", ["MIFGSM", "APGD", "Square", "DeepFool", "CW"])
def test_torchattacks_attacks_stay_inside_and_leave_no_traces(name):
    pytest.importorskip("torchattacks")
    x, label, attack, net = setting(Ball("L2", 0.5) if name == "CW" else Ball("Linf", EPS))
    options = {"n_queries": 50} if name == "Square" else None
    generator = Torchattacks(attack=name, options=options)
    adv = promises.perturb(generator, "it", x, attack, modules=[net])
    assert losses(net, adv, label).sum() > losses(net, x, label).sum()
    again = promises.perturb(generator, "it", x, setting(attack.ball)[2], modules=[net])
    assert torch.equal(adv, again), "the same stream must give the same attack"


@pytest.mark.golden("generator", "torchattacks")
def test_torchattacks_mistakes_are_explained():
    pytest.importorskip("torchattacks")
    x, _, attack, _ = setting(Ball("Linf", EPS))
    with pytest.raises(UsageError, match="no attack 'Pgd'"):
        Torchattacks(attack="Pgd").perturb(x, attack)
    with pytest.raises(UsageError, match=r"torchattacks:PGD refuses the options .*'step'"):
        Torchattacks(attack="PGD", options={"step": 5}).perturb(x, attack)
    with pytest.raises(UsageError, match=r"0 .. 1, but the threat's range is \(0.0, 255.0\)"):
        Torchattacks(attack="PGD").perturb(x, attack.but(ball=Ball("Linf", 8.0, (0.0, 255.0))))
    uneven = Ball("Linf", torch.linspace(0.0, 0.1, 6))
    with pytest.raises(UsageError, match=r"takes one eps, but the rows have 0 to 0.1"):
        Torchattacks(attack="PGD").perturb(x, attack.but(ball=uneven))


@pytest.mark.golden("generator", "art")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("norm", "eps"), [("Linf", EPS), ("L2", 0.5), ("L1", 4.0)])
def test_art_pgd_is_as_strong_as_ours(norm, eps):
    pytest.importorskip("art")
    x, label, attack, net = setting(Ball(norm, eps))
    options = {"eps_step": eps / 4, "max_iter": 20}
    theirs = promises.perturb(ART(attack="ProjectedGradientDescent", options=options), "it", x, attack, modules=[net])
    ours = promises.perturb(PGD(steps=20, step_size=eps / 4), "it", x, attack, modules=[net])
    clean = losses(net, x, label).sum()
    gain, expected = losses(net, theirs, label).sum() - clean, losses(net, ours, label).sum() - clean
    assert gain > 0
    assert expected >= 0.98 * gain


@pytest.mark.golden("generator", "art")
@pytest.mark.filterwarnings("ignore")
def test_art_fgsm_is_ours():
    pytest.importorskip("art")
    x, _, attack, net = setting(Ball("Linf", EPS))
    theirs = promises.perturb(ART(attack="FastGradientMethod"), "it", x, attack, modules=[net])
    ((_, fgsm),) = ONE_STEP().members(4, attack.ball)
    torch.testing.assert_close(theirs, fgsm.perturb(x, attack), rtol=0, atol=1e-6)


@pytest.mark.golden("generator", "art")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["SquareAttack", "DeepFool", "AutoProjectedGradientDescent"])
def test_art_attacks_stay_inside_and_leave_no_traces(name):
    pytest.importorskip("art")
    x, label, attack, net = setting(Ball("Linf", EPS))
    options = {"SquareAttack": {"max_iter": 20}, "DeepFool": {"max_iter": 10}}.get(
        name, {"eps_step": "2/255", "max_iter": 5, "nb_random_init": 1}
    )
    generator = ART(attack=name, options=options)
    adv = promises.perturb(generator, "it", x, attack, modules=[net])
    assert losses(net, adv, label).sum() > losses(net, x, label).sum()
    again = promises.perturb(generator, "it", x, setting(attack.ball)[2], modules=[net])
    assert torch.equal(adv, again), "the same stream must give the same attack"


@pytest.mark.golden("generator", "art")
@pytest.mark.filterwarnings("ignore")
def test_art_mistakes_are_explained():
    pytest.importorskip("art")
    x, _, attack, _ = setting(Ball("Linf", EPS))
    with pytest.raises(UsageError, match="no attack 'PGD'"):
        ART(attack="PGD").perturb(x, attack)
    with pytest.raises(UsageError, match="art:FastGradientMethod refuses the options"):
        ART(attack="FastGradientMethod", options={"steps": 3}).perturb(x, attack)


@pytest.mark.golden("generator", "art")
@pytest.mark.golden("generator", "torchattacks")
@pytest.mark.parametrize(
    ("cls", "package", "remedy"),
    [(Torchattacks, "torchattacks", "pip install --no-deps torchattacks"), (ART, "art", "robustcl[art]")],
)
def test_a_missing_library_is_named_with_its_remedy(cls, package, remedy, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    x, _, attack, _ = setting(Ball("Linf", EPS))
    assert remedy in cls.available()
    with pytest.raises(UsageError, match="is not installed: pip install"):
        cls(attack="PGD").perturb(x, attack)
