"""Calls of strangers' models, held piece by piece: layout, names, a single input, the stream of an attack."""

from __future__ import annotations

from contextlib import nullcontext
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from robustcl.errors import UsageError
from robustcl.evaluate.classifier import of_model
from robustcl.evaluate.extras.evidence import _percent
from robustcl.evaluate.judge import Judge
from robustcl.evaluate.probe import Caller
from robustcl.nn import outside
from robustcl.nn.backbone import features_of
from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.types import Attack


class Views(nn.Module):
    """A convolution whose outcome is viewed: it bears one layout only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).view(len(x), -1)[:, :3]


def test_the_layout_is_asked_for_once_and_told() -> None:
    caller, x = Caller(), torch.rand(2, 3, 8, 8)
    assert not caller.channels_last
    caller(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 3)).eval(), x)
    assert caller.channels_last
    other = Caller()
    other(Views().eval(), x)
    assert not other.channels_last


@pytest.mark.parametrize("spec", [":build", "module:", ":", "", "a b:build", "a.1:build"])
def test_a_model_is_named_by_module_and_function(spec: str) -> None:
    with pytest.raises(UsageError, match="write module:function"):
        outside.build(spec, None, 3)


def test_a_value_that_is_no_number_is_told_in_few_letters() -> None:
    assert _percent("x" * 100) == '"' + "x" * 39
    assert _percent(0.25) == "25 %"


class Needy(nn.Module):
    """Takes two inputs or more; a neighbour moves the features (R, 2) by a share of the largest."""

    def __init__(self, scale: float, share: float) -> None:
        super().__init__()
        self.scale, self.share = scale, share

    def forward(self, x: Tensor) -> Tensor:
        if len(x) < 2:
            raise ValueError("two at least")
        moved = self.share * (1.0 - x[1:].mean() / x[:1].mean()) * 2.0  # 0 beside itself, the share beside half of it
        return torch.tensor([1.0, 0.1]).repeat(len(x), 1) * self.scale * (1.0 + moved)


@pytest.mark.parametrize("scale", [1e4, 1.0, 1e-4])
@pytest.mark.parametrize(("share", "taken"), [(0.0, True), (1.5e-3, True), (5e-3, False), (0.1, False)])
def test_one_input_is_taken_by_two_where_a_neighbour_hardly_matters(scale: float, share: float, taken: bool) -> None:
    x = torch.full((1, 1, 2, 2), 0.5)
    if taken:
        assert features_of(Needy(scale, share).eval(), x, 2, "needy").shape == (1, 2)
        return
    with pytest.raises(UsageError, match="fails on a batch of 1"):
        features_of(Needy(scale, share).eval(), x, 2, "needy")


class Recorder:
    needs: ClassVar[frozenset[Need]] = frozenset()
    citation = "None."

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        self.rng = attack.rng
        return x


def test_an_attack_draws_from_the_stream_of_its_name_and_member() -> None:
    recorder, index = Recorder(), torch.tensor([4, 9])
    judge = Judge(
        of_model(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()),
        Ball("Linf", 0.1),
        Rng(3, "evaluate"),
        nullcontext,
    )
    judge.perturb(torch.rand(2, 1, 2, 2), torch.tensor([0, 1]), index, "it", "one", recorder)
    expected = Rng(3, "evaluate").child("attack", "it", "one").for_rows(index)
    assert recorder.rng.key == expected.key
    assert torch.equal(recorder.rng.uniform((2, 3)), expected.uniform((2, 3)))
