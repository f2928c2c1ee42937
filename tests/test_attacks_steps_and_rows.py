"""Steps that go nowhere or back, rows that depend on each other, and arrays as NumPy and pandas hold them."""

from __future__ import annotations

import warnings

import numpy as np
import pandas
import pytest
import torch
from torch import Tensor, nn

import robustcl
from robustcl import options
from robustcl.errors import DataError, OptionError, UsageError
from robustcl.evaluate import soundness
from robustcl.evaluate.classifier import of_model
from robustcl.options import arrays
from robustcl.threat import Ball

X = torch.rand(12, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def net(norm: bool = False, tracks: bool = True) -> nn.Module:
    """Return a small classifier of five classes in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        middle = nn.BatchNorm2d(4, track_running_stats=tracks) if norm else nn.Identity()
        return nn.Sequential(nn.Conv2d(3, 4, 3), middle, nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)).eval()


Y = torch.zeros(12, dtype=torch.int64)


@pytest.mark.parametrize("step", [0, 0.0, "0/255", -0.01, "-2/255", np.float32(-0.01)])
@pytest.mark.parametrize("name", ["pgd", "pgd-20", "multi-targeted-pgd"])
def test_a_step_that_leads_nowhere_or_back_is_refused(name: str, step: object) -> None:
    with pytest.raises(OptionError, match=r"step_size = .*give ratio > 0"):
        robustcl.attacks.make(name, net(), eps="8/255", step_size=step)


@pytest.mark.parametrize("recipe", ["ncp", "deacl", "profeat"])
def test_a_step_back_is_refused_in_training_too(recipe: str) -> None:
    generator = robustcl.registry.get("generator", recipe)
    with pytest.raises(OptionError, match=r"step_size = -0\.1: not accepted; give ratio > 0"):
        options.build(generator, {"step_size": -0.1}, "here")
    assert options.build(generator, {"step_size": "1/255"}, "here").instance.step_size == 1 / 255


class Together(nn.Module):
    """Takes the mean over the batch away."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits - logits.mean(0, keepdim=True)


@pytest.mark.parametrize("model", [Together().eval(), net(norm=True, tracks=False)])
def test_rows_that_change_each_other_are_no_random_draws(model: nn.Module) -> None:
    with pytest.raises(UsageError, match="rows of a batch change each other's logits in eval mode"):
        soundness.check_steady(of_model(model), X[:8])
    attack = robustcl.attacks.PGD(model, eps="8/255", steps=1, stop_early=True)
    with pytest.warns(RuntimeWarning, match="rows of a batch change each other's logits") as told:
        attack.run_standard_evaluation(X, Y)
    assert not any("at random" in str(each.message) for each in told)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_rows_that_stand_for_themselves_are_left_alone(kind: torch.dtype, offset: float) -> None:
    if offset and kind == torch.float16:
        offset = 1e3
    model = net(norm=True).to(kind)
    model[-1].bias.data += offset
    soundness.check_steady(of_model(model), X[:8].to(kind))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        robustcl.attacks.PGD(model, eps="8/255", steps=1, stop_early=True).run_standard_evaluation(X.to(kind), Y)


@pytest.mark.parametrize(
    "value",
    [
        np.array([3.0, 2.0, 1.0])[::-1],
        np.array([1.0, 2.0, 3.0], dtype=">f8"),
        np.array([1, 2, 3], dtype=np.longdouble),
        np.frombuffer(np.array([1.0, 2.0, 3.0]).tobytes()),  # read-only
        pandas.Series([1.0, 2.0, 3.0], index=["a", "b", "c"]),
        pandas.Series([1.0, 2.0, 3.0], index=[7, 8, 9]),
        np.ma.masked_array([1.0, 2.0, 3.0], mask=[0, 0, 0]),
        [np.float64(1), np.float64(2), np.float64(3)],
        [torch.tensor(1.0), torch.tensor(2.0), torch.tensor(3.0)],
    ],
)
def test_arrays_of_any_stride_order_and_owner_are_read(value: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert arrays.tensor(value, "features").tolist() == [1.0, 2.0, 3.0]


def test_rows_of_arrays_and_of_tensors_are_read() -> None:
    assert arrays.tensor([torch.arange(2.0), torch.arange(2.0)], "features").shape == (2, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert arrays.tensor([np.arange(2.0), np.arange(2.0)], "features").shape == (2, 2)
    assert arrays.tensor(pandas.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}), "features").tolist() == [[1, 3], [2, 4]]
    assert arrays.tensor([1.5, 2.5], "features").dtype == torch.float32


def test_a_masked_entry_is_not_read_as_a_number() -> None:
    with pytest.raises(UsageError, match="masked"):
        arrays.tensor(np.ma.masked_array([1.0, 2.0], mask=[0, 1]), "features")


@pytest.mark.parametrize("target", [np.full(12, 3, dtype=">i8"), np.full(12, 3)[::-1], pandas.Series([3] * 12)])
def test_targets_are_read_as_arrays_are(target: object) -> None:
    attack = robustcl.attacks.FGSM(net(), eps="8/255")
    assert torch.equal(attack(X, Y, target=target), attack(X, Y, target=3))
    with pytest.raises(DataError, match="give a class number for each row"):
        attack(X, Y, target=[None] * 12)


def test_an_attack_table_is_read_as_text_and_holds_no_words_of_the_call() -> None:
    attack = robustcl.attacks.make('{ use = "pgd", steps = 3 }', net(), eps="8/255")
    assert attack.made.options["steps"] == 3
    for word in ("eps", "seed", "norm", "model"):
        with pytest.raises(OptionError, match=rf"'{word}' is no option of an attack: give it beside the table"):
            robustcl.attacks.make({"use": "pgd", word: 1}, net(), eps="8/255")


def test_one_member_of_autoattack_is_given_in_a_list() -> None:
    with pytest.raises(OptionError, match=r"attacks_to_run = 'apgd-ce': give a list, \['apgd-ce'\]"):
        robustcl.AutoAttack(net(), attacks_to_run="apgd-ce")  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
@pytest.mark.parametrize("kind", [torch.float16, torch.float32])
def test_radii_of_rows_leave_the_type_of_the_points(norm: str, kind: torch.dtype) -> None:
    ball = Ball(norm, torch.full((12,), 0.1, dtype=torch.float64))
    assert ball.project((X + 1.0).to(kind), X.to(kind)).dtype == kind


class Never(Together):
    """The same, and no row can be had alone."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) == 1:
            raise ValueError("more than one row is needed")
        return super().forward(x)


def test_rows_that_cannot_be_had_alone_are_perturbed_as_they_are() -> None:
    model = Never().eval()
    found = robustcl.attacks.FGSM(model, eps="8/255")(X, Y)
    assert bool((found != X).flatten(1).any(1).all())
    with pytest.raises(UsageError, match="more than one row is needed"):
        soundness.check_steady(of_model(model), X[:8])


@pytest.mark.parametrize(
    ("name", "options"),
    [("square", {"queries": 5}), ("pgd", {"steps": 2, "restarts": 2}), ("apgd", {"steps": 3}), ("fab", {"steps": 3})],
)
@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
def test_torchs_default_type_changes_no_attack(name: str, options: dict[str, int], norm: str) -> None:
    eps = {"Linf": 0.1, "L2": 0.5, "L1": 4.0}[norm]
    attack = robustcl.attacks.make(name, net(), eps=eps, norm=norm, stop_early=True, **options)
    found = attack(X, Y)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(attack(X, Y), found)
    finally:
        torch.set_default_dtype(torch.float32)
