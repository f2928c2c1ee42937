"""What foreign attacks leave behind, done by hand: the guard says each thing in a sentence and puts it back."""

from __future__ import annotations

import copy
import random
import re
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import robustcl
from robustcl import GuardWarning
from robustcl.errors import DataError, UsageError
from robustcl.interop import guarding


def probed() -> nn.Module:
    """A frozen encoder in eval mode below a head that trains: linear probing."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    model = nn.Sequential(encoder, nn.Dropout(0.5), nn.Linear(4 * 36, 3)).train()
    encoder.eval().requires_grad_(False)
    return model


def images(rows: int = 4) -> tuple[Tensor, Tensor]:
    return torch.rand(rows, 3, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(rows) % 3


def as_torchattacks_does(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """One signed step; the root alone is asked for its mode, and train() puts every submodule into it."""
    training = model.training
    model.eval()
    leaf = x.clone().requires_grad_()
    nn.functional.cross_entropy(model(leaf), y).backward()
    model.train(training)
    return (x + 8 / 255 * leaf.grad.sign()).clamp(0, 1)


def state(model: nn.Module) -> tuple[list[bool], dict[str, Tensor], list[Tensor | None], list[bool]]:
    return (
        [module.training for module in model.modules()],
        {name: value.clone() for name, value in model.state_dict().items()},
        [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        [p.requires_grad for p in model.parameters()],
    )


def same(model: nn.Module, before: tuple[list[bool], dict[str, Tensor], list[Tensor | None], list[bool]]) -> bool:
    flags, values, gradients, asked = state(model)
    return (
        flags == before[0]
        and all(torch.equal(values[name], before[1][name]) for name in before[1])
        and all((a is None and b is None) or torch.equal(a, b) for a, b in zip(gradients, before[2], strict=True))
        and asked == before[3]
    )


def draws() -> tuple[float, float, float]:
    return float(torch.rand(())), float(np.random.rand()), random.random()  # noqa: NPY002


def test_a_frozen_encoder_stays_frozen_under_an_attack_like_torchattacks():
    model, (x, y) = probed(), images()
    before = state(model)

    def attacked() -> guarding.GuardReport:
        with robustcl.guard(model) as report:
            as_torchattacks_does(model, x, y)
            assert model[0][1].training, "the attack must have done the harm"
        return report

    with pytest.warns(GuardWarning, match="put back"):
        report = attacked()
    assert same(model, before)
    assert "BatchNorm2d 0.1 was left in train mode instead of eval mode" in report.found
    assert any(".grad of the parameter 2.weight was filled" in said for said in report.found)


def test_moved_statistics_come_back_to_the_last_bit():
    model, (x, _) = probed(), images()
    before = state(model)
    with robustcl.guard(model, quiet=True) as report:
        model.train()
        model(x * 3)
    assert same(model, before)
    assert any(said.startswith("the buffer 0.1.running_mean was changed by up to") for said in report.found)
    assert any("num_batches_tracked" in said for said in report.found)


def test_seeds_of_the_global_generators_are_undone():
    model = probed()
    torch.manual_seed(5), np.random.seed(5), random.seed(5)  # noqa: NPY002
    expected = draws()
    torch.manual_seed(5), np.random.seed(5), random.seed(5)  # noqa: NPY002
    with robustcl.guard(model, quiet=True) as report:
        torch.manual_seed(0), np.random.seed(0), random.seed(0)  # noqa: NPY002
        draws()
    assert draws() == expected
    assert sorted(said.split()[5] for said in report.found) == ["NumPy", "Python", "torch"]


def test_parameters_gradients_and_flags_come_back_and_each_is_said():
    model = probed()
    head = model[2]
    head.weight.grad = torch.ones_like(head.weight)
    gradient, weight, before = head.weight.grad, head.weight, state(model)
    with robustcl.guard(model, quiet=True) as report:
        head.weight.data.add_(1.0)  # past the version counter
        head.weight.grad.mul_(2.0)
        head.bias.requires_grad_(False)
        model[0][0].weight = nn.Parameter(torch.zeros_like(model[0][0].weight))
    assert same(model, before)
    assert head.weight is weight
    assert head.weight.grad is gradient, "an optimiser may hold these very tensors"
    said = " / ".join(report.found)
    for sentence in (
        "parameter 2.weight was changed by up to 1",
        ".grad of the parameter 2.weight was changed",
        "parameter 2.bias was left with requires_grad = False",
        "parameter 0.0.weight was changed",
    ):
        assert sentence in said


def test_nothing_is_said_of_code_that_leaves_nothing():
    model, (x, _) = probed().eval(), images()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with robustcl.guard(model) as report:
            model(x)
    assert report.found == []


def test_nan_statistics_that_stay_are_no_change():
    model = probed()
    model[0][1].running_mean[0] = float("nan")
    with robustcl.guard(model) as report:
        pass
    assert report.found == []


def test_an_exception_passes_and_everything_is_put_back_without_a_warning():
    model = probed()
    before = state(model)
    reports = []

    def fails() -> None:
        with robustcl.guard(model) as report:
            reports.append(report)
            model.train()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert same(model, before)
    assert reports[0].found


def test_guards_can_be_nested():
    model = probed()
    before = state(model)
    with robustcl.guard(model) as outer:
        with robustcl.guard(model, quiet=True) as inner:
            model.eval()
        assert model.training
    assert same(model, before)
    assert inner.found
    assert outer.found == []


def test_another_thing_than_a_module_is_refused():
    with pytest.raises(UsageError, match=r"takes a torch.nn.Module, not a function"), robustcl.guard(lambda x: x):
        pass


X = torch.full((3, 2), 0.5)


@pytest.mark.parametrize(
    ("adversarial", "said"),
    [
        (torch.full((3, 3), 0.5), r"have the shape \(3, 3\), the inputs \(3, 2\)"),
        (X.double(), "have the dtype torch.float64, the inputs torch.float32"),
        (
            X + torch.tensor([[0.0, 0.0], [0.2, 0.0], [0.0, 0.0]]),
            "ball of 0.1 in 1 of 3 rows, the first is number 1: 0.2",
        ),
        (X.index_fill(0, torch.tensor([2]), float("nan")), "NaN or infinity in 1 of 3 rows, the first is number 2"),
        ([0.5], "are a list, not a tensor"),
    ],
)
def test_check_says_what_is_wrong(adversarial, said):
    with robustcl.guard(nn.Linear(2, 2)) as report:
        (sentence,) = report.check(X, adversarial, eps=0.1)
        with pytest.raises(DataError, match=said):
            report.require(X, adversarial, eps="1/10")
    assert sentence in report.found
    assert re.search(said, sentence)


def test_check_measures_the_norm_that_is_asked_for_and_the_range():
    report = guarding.GuardReport()
    moved = X + 0.08
    assert report.check(X, moved, eps="0.1") == []
    assert "L2 ball" in report.check(X, moved, eps=0.1, norm="L2")[0]
    assert "L1 ball" in report.check(X, moved, eps=0.15, norm="L1")[0]
    assert "leave the range 0 .. 0.55" in report.check(X, moved, eps=0.1, range=(0.0, 0.55))[0]
    assert report.check(X * 9, X * 9, eps=0.1, range=None) == []
    assert "the inputs leave the range" in report.check(X * 9, X * 9, eps=0.1)[0]
    assert report.check(X[:0], X[:0], eps=0.1) == []
    with pytest.raises(UsageError, match="wider than the pixels"):
        report.check(X, X, eps=8)


def test_a_guarded_copy_and_the_original_do_not_touch_each_other():
    model = probed()
    other, before = copy.deepcopy(model), state(model)
    with robustcl.guard(other, quiet=True):
        model.eval()
    model.train()
    model[0].eval()
    assert same(model, before)


def test_a_model_without_weights_yet_is_refused_in_a_sentence() -> None:
    with (
        pytest.raises(UsageError, match=r"lazy layers have no weights yet, 1.weight is one: call it once"),
        robustcl.guard(nn.Sequential(nn.Flatten(), nn.LazyLinear(3))),
    ):
        pass
