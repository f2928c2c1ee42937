"""The rules by which a stranger's model is called, one by one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import robustcl
from robustcl import gradients
from robustcl.errors import UsageError
from robustcl.evaluate.classifier import of_model
from robustcl.evaluate.probe import Caller
from robustcl.nn.folding import fold
from robustcl.nn.layout import bears_channels_last
from tests.shared import strangers


class Lies(nn.Module):
    """Reads its input in the order of memory: it takes every layout, and says something else of each."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(192, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(torch.as_strided(x, (len(x), 192), (192, 1)))
        return logits


class OnlyLast(nn.Module):
    """Takes nothing but channels last."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.is_contiguous(memory_format=torch.channels_last)
        return x.mean((2, 3))


def call(module: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = module(x)
    return found


@pytest.mark.parametrize(
    ("build", "bears"), [(strangers.Net, True), (strangers.Views, False), (Lies, False), (OnlyLast, True)]
)
def test_layouts_are_told_apart_by_what_the_model_says(build: Callable[[], nn.Module], bears: bool) -> None:
    torch.manual_seed(0)
    assert bears_channels_last(call, build().eval(), torch.rand(5, 3, 8, 8)) is bears


def test_what_reads_memory_is_attacked_as_it_is() -> None:
    torch.manual_seed(0)
    net, x = Lies().eval(), torch.rand(6, 3, 8, 8)
    y = net(x).argmax(1)
    leaf = x.clone().requires_grad_()
    nn.functional.cross_entropy(net(leaf), y, reduction="sum").backward()
    assert leaf.grad is not None
    expected = (x + 0.1 * leaf.grad.sign()).clamp(0, 1)
    torch.testing.assert_close(robustcl.attacks.FGSM(net, eps=0.1)(x, y), expected, rtol=0, atol=0)


@pytest.mark.parametrize(("channels_last", "laid_out"), [(True, True), (False, False)])
def test_a_folded_copy_lies_as_it_is_told(channels_last: bool, laid_out: bool) -> None:
    torch.manual_seed(0)
    net, x = strangers.Net().eval(), torch.rand(5, 3, 8, 8)
    quick = fold(net, call, x, channels_last)
    assert isinstance(quick, strangers.Net)
    assert quick.conv.weight.is_contiguous(memory_format=torch.channels_last) is laid_out
    assert net.conv.weight.is_contiguous()


def test_a_model_that_views_has_a_folded_copy_that_views() -> None:
    net, x = strangers.model("views"), torch.rand(5, 3, 8, 8)
    classifier = of_model(net)
    classifier.predict(x)
    with classifier.sparring(x) as quick:
        assert quick.module is not net
        torch.testing.assert_close(quick.embed(x, frozenset({"logits"})).logits, net(x), rtol=1e-4, atol=1e-5)


def test_a_tally_remembers_every_call_and_its_rows() -> None:
    at = torch.tensor([[0.0], [1.0], [4.0], [9.0]])
    with gradients.listen(4) as tally:
        for places in ([0, 2], [1], [3]):
            rows = torch.tensor(places)
            leaf = at[rows].requires_grad_()
            gradients.toward(leaf.sqrt() if 3 not in places else 0.0 * leaf, leaf, rows)
        leaf = torch.tensor([[1.0], [0.0]], requires_grad=True)
        gradients.toward(leaf.sqrt(), leaf, torch.tensor([0, 2]))
        leaf = at[[1]].requires_grad_()
        gradients.toward(0.0 * leaf, leaf, torch.tensor([1]))
    assert tally.broken.tolist() == [True, False, True, False], "what broke once stays broken"
    assert tally.flat.tolist() == [False, False, False, True]
    assert tally.asked


def test_a_tally_takes_no_note_of_rows_that_it_cannot_name() -> None:
    with gradients.listen(4) as tally:
        for count in (2, 6):
            leaf = torch.zeros(count, 1, requires_grad=True)
            gradients.toward(leaf.sqrt(), leaf)
        assert not tally.broken.any()
        assert not tally.asked
        leaf = torch.zeros(4, 1, requires_grad=True)
        gradients.toward(leaf.sqrt(), leaf)
    assert tally.broken.all()


def test_nobody_needs_to_listen() -> None:
    leaf = torch.zeros(3, 1, requires_grad=True)
    assert bool((gradients.toward(leaf.sqrt(), leaf).abs() == 1).all()), "lost rows step at random"


class Close(nn.Module):
    """Double logits that single precision cannot tell apart."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        z = self.one * x.flatten(1)[:, :1].double()
        return torch.cat([1e9 + 0 * z, 1e9 + 1e-6 * (z + 1)], 1)


def test_the_verdict_of_a_double_model_is_its_own() -> None:
    x = torch.rand(5, 3, 2, 2)
    assert Close()(x).argmax(1).tolist() == [1] * 5
    assert of_model(Close().eval()).predict(x).tolist() == [1] * 5


@pytest.mark.parametrize("rows", [1, 4, 7, 13])
def test_a_fixed_batch_is_found_filled_and_cut(rows: int) -> None:
    net, caller = strangers.model("fixed-batch").eval(), Caller()
    plain = strangers.model("plain")
    torch.manual_seed(0)
    x = torch.rand(rows, 3, 8, 8, requires_grad=True)
    logits = caller(net, x).logits
    torch.testing.assert_close(logits, plain(x), rtol=1e-4, atol=1e-5)
    (slope,) = torch.autograd.grad(logits.square().sum(), x)
    (expected,) = torch.autograd.grad(plain(x).square().sum(), x)
    torch.testing.assert_close(slope, expected, rtol=1e-3, atol=1e-5)


def test_the_reason_of_a_batch_of_one_is_told() -> None:
    net, caller = strangers.model("batch-statistics"), Caller()
    caller(net, torch.rand(6, 3, 8, 8))
    with pytest.raises(
        UsageError, match=r"batch of 1 .*Expected more than 1 value.*because fooled samples leave.*rows"
    ):
        caller(net, torch.rand(1, 3, 8, 8))


def test_an_ensemble_refuses_items_before_its_first_pass() -> None:
    calls: list[int] = []
    net = strangers.model("scans")
    net.register_forward_hook(lambda *_: calls.append(1))
    x = torch.rand(3, 2, 2, 2, 2, 3)
    for attack in (robustcl.AutoAttack(net, eps=0.1), robustcl.attacks.Square(net, eps=0.1)):
        calls.clear()
        with pytest.raises(UsageError, match=r"square paints .*reshape them"):
            attack.run_standard_evaluation(x, torch.tensor([0, 1, 2]))
        assert len(calls) <= 6, "it has only been looked at"
