"""AutoAttack: its published definition for each version, norm and number of classes, and what a cascade must equal."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import robustcl
from robustcl.errors import OptionError, UsageError
from robustcl.evaluate.classifier import of_model
from robustcl.evaluate.judge import Judge, Members
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl_plugins.attacks.autoattack import AutoAttack

pytestmark = pytest.mark.golden("attack", "autoattack")

STANDARD = ["apgd-ce", "apgd-t", "fab-t", "square"]
EPS = {"Linf": 8 / 255, "L2": 0.5, "L1": 12.0}


def members(version: str, classes: int, norm: str, **options: Any) -> dict[str, Any]:
    return dict(AutoAttack(version=version, **options).members(classes, Ball(norm, EPS[norm])))


def settings(generator: Any) -> dict[str, Any]:
    return {"kind": type(generator).__name__, **vars(generator)}


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("classes", [2, 3, 4, 8, 10, 100])
def test_standard_in_linf_and_l2(norm, classes):
    """ICML 2020, section 6: APGD-CE, targeted APGD-DLR and FAB with nine targets, Square with 5,000 queries."""
    found = members("standard", classes, norm)
    targets = min(9, classes - 1)
    assert list(found) == STANDARD
    ce, toward, fab, square = map(settings, found.values())
    assert (ce["kind"], ce["steps"], ce["restarts"], ce["loss"], ce["eot"], ce["largereps"], ce["rho"]) == (
        *("APGD", 100, 1, "cross-entropy", 1, False, 0.75),
    )
    assert (toward["kind"], toward["steps"], toward["restarts"], toward["targets"], toward["largereps"]) == (
        *("APGDTargeted", 100, 1, targets, False),
    )
    assert (fab["kind"], fab["steps"], fab["restarts"], fab["targets"]) == ("FAB", 100, 1, targets)
    assert (fab["alpha_max"], fab["eta"], fab["beta"]) == (0.1, 1.05, 0.9)
    assert (square["kind"], square["queries"], square["restarts"], square["p_init"]) == ("Square", 5000, 1, 0.8)
    assert square["rescale"] is False, "the reference halves its windows after the published numbers of queries"


@pytest.mark.parametrize("classes", [2, 4, 10])
def test_standard_in_l1(classes):
    """Mind the Box, ICML 2021: five restarts of APGD-CE, five targets of APGD-T, both through larger balls first."""
    ce, toward, fab, square = map(settings, members("standard", classes, "L1").values())
    assert (ce["restarts"], ce["largereps"], toward["largereps"]) == (5, True, True)
    assert (toward["restarts"], toward["targets"]) == (1, min(5, classes - 1))
    assert (fab["targets"], square["queries"]) == (min(9, classes - 1), 5000)


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_plus_adds_restarts_the_untargeted_ratio_and_untargeted_fab(norm):
    found = members("plus", 10, norm)
    assert list(found) == ["apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"]
    ce, ratio, fab, square, toward, targeted = map(settings, found.values())
    assert [(s["restarts"], s["loss"], s["eot"]) for s in (ce, ratio)] == [(5, "cross-entropy", 1), (5, "dlr", 1)]
    assert (fab["kind"], fab["restarts"], fab["steps"]) == ("FABUntargeted", 5, 100)
    assert (square["queries"], square["restarts"]) == (5000, 1)
    assert (toward["targets"], toward["restarts"], targeted["targets"], targeted["restarts"]) == (9, 1, 9, 1)
    with pytest.raises(UsageError, match="'plus' is published for Linf and L2"):
        members("plus", 10, "L1")


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
def test_rand_averages_twenty_passes(norm):
    found = members("rand", 10, norm)
    assert list(found) == ["apgd-ce", "apgd-dlr"]
    for name, loss in (("apgd-ce", "cross-entropy"), ("apgd-dlr", "dlr")):
        said = settings(found[name])
        assert (said["steps"], said["restarts"], said["eot"], said["loss"]) == (100, 1, 20, loss)


def test_some_members_run_in_the_order_of_the_version():
    assert list(members("standard", 10, "Linf", attacks_to_run=("square", "apgd-ce"))) == ["apgd-ce", "square"]
    with pytest.raises(UsageError, match=r"'standard' has no member 'apgd-dlr'; it has apgd-ce, apgd-t, fab-t, square"):
        members("standard", 10, "Linf", attacks_to_run=("apgd-dlr",))
    with pytest.raises(UsageError, match="names no member"):
        members("standard", 10, "Linf", attacks_to_run=())


def curved(classes: int, item: int = 12) -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(item, 24), nn.Tanh(), nn.Linear(24, classes)).eval()


def data(net: nn.Module, rows: int) -> tuple[Tensor, Tensor]:
    x = Rng(0, "images").uniform((rows, 3, 2, 2))
    with torch.no_grad():
        return x, net(x).argmax(1)


def shortened(found: Members, steps: int = 4, queries: int = 12) -> Members:
    for _, generator in found:
        for name, value in (("steps", steps), ("queries", queries), ("restarts", 1)):
            if hasattr(generator, name):
                setattr(generator, name, value)
    return found


@pytest.mark.parametrize(("norm", "eps"), [("Linf", 0.06), ("L2", 0.15), ("L1", 0.35)])
def test_the_cascade_is_the_worst_case_of_its_members(norm, eps):
    """Each member attacks a sample with its own random stream, so who stands alone stands in the cascade."""
    net, ball = curved(5), Ball(norm, eps)
    x, y = data(net, 60)
    judge, index = Judge(of_model(net), ball, Rng(0), contextlib.nullcontext), torch.arange(60)
    found = shortened(AutoAttack().members(5, ball))
    adv, prediction = judge.attack(x, y, index, "autoattack", found)
    alone = [judge.attack(x, y, index, "autoattack", [member])[1] == y for member in found]
    assert torch.equal(prediction == y, torch.stack(alone).all(0))
    assert bool(ball.contains(adv, x).all())
    assert all(0 < int(stands.sum()) < 60 for stands in alone), "every member must break some and leave some"
    assert len({tuple(stands.tolist()) for stands in alone}) > 1, "the members must differ"


@pytest.mark.parametrize("version", ["standard", "plus", "rand"])
@pytest.mark.parametrize("classes", [2, 3, 4, 8, 10])
def test_any_number_of_classes_goes_through_every_member(version, classes):
    net, ball = curved(classes), Ball("Linf", 1e-4)
    x, y = data(net, 3)
    judge = Judge(of_model(net), ball, Rng(0), contextlib.nullcontext)
    found = shortened(AutoAttack(version=version).members(classes, ball), steps=2, queries=3)
    for _, generator in found:
        if hasattr(generator, "eot"):
            generator.eot = 2
    adv, prediction = judge.attack(x, y, torch.arange(3), "autoattack", found)
    assert torch.equal(prediction, y)
    assert bool(ball.contains(adv, x).all())


def test_the_library_s_call_shape():
    net = curved(3)
    x, y = data(net, 6)
    attack = robustcl.AutoAttack(net, "Linf", 0.4)
    adv, labels = attack.run_standard_evaluation(x, y, bs=4, return_labels=True)
    assert [name for name, _ in attack.members(3)] == STANDARD
    assert not bool((labels == y).any()), "a ball of 0.4 holds wrong points of each"
    assert torch.equal(net(adv).argmax(1), labels)
    assert float((adv - x).abs().max()) <= 0.4 + 1e-6
    assert torch.equal(attack(x, y), adv)
    assert robustcl.AutoAttack(net).ball == Ball("Linf", 8 / 255)
    some = robustcl.AutoAttack(net, norm="L2", eps="1/2", attacks_to_run=["square"])
    assert [name for name, _ in some.members(3)] == ["square"]
    assert [name for name, _ in robustcl.AutoAttack(net, attacks_to_run=[]).members(3)] == STANDARD


def test_what_the_library_accepts_and_this_one_does_not_is_a_sentence():
    net = curved(3)
    with pytest.raises(UsageError, match="AutoAttack in L2 needs eps"):
        robustcl.AutoAttack(net, "L2")
    with pytest.raises(OptionError, match=r"AutoAttack.version = 'custom'"):
        robustcl.AutoAttack(net, version="custom")
    with pytest.raises(UsageError, match="seed = None"):
        robustcl.AutoAttack(net, seed=None)  # type: ignore[arg-type]


def test_verbose_prints_the_accuracy_after_each_member(capsys):
    net = curved(3)
    x, y = data(net, 4)
    y[0] = (y[0] + 1) % 3
    robustcl.AutoAttack(net, eps=0.4, verbose=True).run_standard_evaluation(x, y)
    said = capsys.readouterr().out
    assert "clean accuracy: 75.00%\n" in said
    assert said.endswith("robust accuracy after square: 0.00%\n")
    assert all(f"after {name}: " in said for name in STANDARD)
