"""Every model of the zoo through the attacks of the library: the number of a naked attack, or one sentence."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import robustcl
from robustcl.errors import RobustclError
from tests.shared import strangers

pytestmark = pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad", "ignore:.*autograd kernel")

_LOOSE = {"half", "bfloat16", "autocast", "offset", "draws"}
"""Whose gradients are attacked in another precision than their own, so that signs near 0 may differ."""

FAIR = [name for name, case in strangers.CASES.items() if not (case.refused or case.cut)]
ROWS = 6


def given(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a model, inputs, and labels that it gets right, all but the last."""
    net = strangers.model(name)
    torch.manual_seed(0)
    x = torch.rand(ROWS, *strangers.CASES[name].item)
    return net, x, right(name, net, x)


def right(name: str, net: nn.Module, x: Tensor) -> Tensor:
    if strangers.CASES[name].refused:
        return torch.arange(len(x)) % strangers.CLASSES
    labels = answers(net, x).argmax(1)
    labels[-1] = (labels[-1] + 1) % strangers.CLASSES
    return labels


def answers(net: nn.Module, x: Tensor) -> Tensor:
    """Return the logits (R, L) as plain torch gives them."""
    kinds = {p.dtype for p in net.parameters() if p.is_floating_point()}
    with torch.no_grad():
        out = net(x.to(kinds.pop()) if len(kinds) == 1 else x)
    found: Tensor = getattr(out, "logits", out)
    return found


def naked(net: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """FGSM in plain torch, NaN and infinity taken for 0."""
    kinds = {p.dtype for p in net.parameters() if p.is_floating_point()}
    leaf = x.clone().requires_grad_()
    out = net(leaf.to(kinds.pop()) if len(kinds) == 1 else leaf)
    loss = nn.functional.cross_entropy(getattr(out, "logits", out).float(), y, reduction="sum")
    (slope,) = torch.autograd.grad(loss, leaf)
    return (x + eps * slope.nan_to_num(0.0, 0.0, 0.0).sign()).clamp(0, 1)


@pytest.mark.parametrize("name", FAIR)
def test_a_naked_attack_finds_the_same(name: str) -> None:
    net, x, y = given(name)
    case = strangers.CASES[name]
    attack: Callable[[Tensor, Tensor], Tensor] = robustcl.attacks.FGSM(net, eps=0.1)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = attack(x, y)
    said = [each for each in said if each.category is not FutureWarning]  # torch's own, of its export
    assert any(case.warned in str(each.message) for each in said) if case.warned else not said
    assert case.flat or bool(found.ne(x).flatten(1).any(1).all())
    if case.draws or name == "inference-built":
        return
    differing = float((found - naked(net, x, y, 0.1)).abs().gt(1e-5).float().mean())
    assert differing < (0.2 if name in _LOOSE else 0.01)


@pytest.mark.parametrize("name", FAIR)
def test_verdicts_are_the_models_own(name: str) -> None:
    """Each evaluation takes its verdict in the model's own forward, whoever is left in the batch."""
    net, x, y = given(name)
    attack = robustcl.attacks.PGD(net, eps=0.2, steps=2, stop_early=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcomes = attack.outcomes(x, y, bs=ROWS)
        adversarial = attack.run_standard_evaluation(x, y, bs=ROWS)
    assert [outcome.index for outcome in outcomes] == list(range(ROWS))
    assert not outcomes[-1].correct, "its label is wrong"
    if not strangers.CASES[name].draws:
        assert answers(net, adversarial).argmax(1).tolist() == [outcome.prediction for outcome in outcomes]


@pytest.mark.parametrize("name", [name for name, case in strangers.CASES.items() if case.refused])
def test_what_cannot_be_judged_is_one_sentence(name: str) -> None:
    net, x, y = given(name)
    for attack in (robustcl.attacks.FGSM(net, eps=0.1), robustcl.attacks.Square(net, eps=0.1, queries=2)):
        with pytest.raises(RobustclError, match=strangers.CASES[name].refused):
            attack(x, y)
        with pytest.raises(RobustclError, match=strangers.CASES[name].refused):
            attack.run_standard_evaluation(x, y)


@pytest.mark.parametrize("name", [name for name, case in strangers.CASES.items() if case.cut])
def test_what_has_no_gradient_says_so_and_is_judged_without_one(name: str) -> None:
    net, x, y = given(name)
    for attack in ("PGD", "APGD", "FAB"):
        with pytest.raises(RobustclError, match=strangers.CASES[name].cut):
            getattr(robustcl.attacks, attack)(net, eps=0.1, steps=1)(x, y)
    if name == "counts-gradients":
        return  # trying how it bears gradients has changed it already
    judged = robustcl.attacks.Square(net, eps=0.3, queries=2)
    assert len(judged.outcomes(x, y)) == ROWS


@pytest.mark.parametrize("name", strangers.CASES)
def test_a_guard_finds_nothing_after_our_attacks(name: str) -> None:
    net, x, y = given(name)
    if name in ("counts-in-buffer", "counts-gradients", "lazy"):
        return  # what they do to themselves is put back, and said
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with robustcl.guard(net) as report:
            try:
                robustcl.attacks.PGD(net, eps=0.1, steps=1)(x, y)
            except RobustclError:
                assert strangers.CASES[name].refused or strangers.CASES[name].cut
    assert report.found == [] or (strangers.CASES[name].draws and name != "own-generator")
