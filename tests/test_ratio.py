"""Numbers as NumPy and torch hand them over, and the sentences for what is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import robustcl
from robustcl import options
from robustcl.errors import DataError, OptionError, RobustclError, UsageError
from robustcl.ratio import plain
from robustcl.threat import Ball

X, Y = torch.rand(6, 3, 2, 2, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3


def _model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).eval()


@pytest.mark.parametrize("whole", [np.int64, np.uint8, np.int32, np.array, torch.tensor])
@pytest.mark.parametrize("real", [np.float32, np.float64, np.float16, np.array, torch.tensor])
def test_numbers_of_numpy_are_numbers(whole, real):
    model = _model()
    attack = robustcl.attacks.PGD(model, eps=real(0.25), seed=whole(3), steps=whole(4), step_size=real(0.125))
    same = robustcl.attacks.PGD(model, eps=0.25, seed=3, steps=4, step_size=0.125)
    assert torch.equal(attack(X, Y), same(X, Y))
    assert torch.equal(attack.run_standard_evaluation(X, Y, bs=whole(2)), same.run_standard_evaluation(X, Y, bs=2))


def test_numpy_numbers_in_lists_and_resolved_tables():
    assert plain([np.int64(1), (np.float32(0.5),)]) == [1, (0.5,)]
    assert type(plain(np.float64(0.5))) is float
    cls = type(robustcl.attacks.PGD(_model(), eps=0.1).made.plugin)
    assert options.resolve(cls, {"steps": np.int64(7)}, "here")["steps"] == 7


@pytest.mark.parametrize("wrong", [{"steps": True}, {"steps": np.bool_(True)}, {"steps": np.float32(2.5)}])
def test_what_is_no_whole_number_stays_refused(wrong):
    with pytest.raises(OptionError, match="steps"):
        robustcl.attacks.PGD(_model(), eps=0.1, **wrong)
    with pytest.raises(UsageError, match="seed"):
        robustcl.attacks.PGD(_model(), eps=0.1, seed=wrong["steps"])


@pytest.mark.parametrize("eps", [torch.tensor([0.1, 0.2]), np.array([0.1]), [0.1], (0.1, 0.2)])
def test_a_vector_is_no_radius(eps):
    with pytest.raises(UsageError, match="is no radius: write one number"):
        robustcl.attacks.PGD(_model(), eps=eps)


@pytest.mark.parametrize("bounds", [(0, 1, 2), (0,), 1.0, "01", (0, "1"), (False, True), [[0, 1]], torch.zeros(2, 2)])
def test_a_range_has_two_ends(bounds):
    with pytest.raises(UsageError, match="write the lowest and the highest value"):
        Ball.checked("L2", 0.1, bounds)


@pytest.mark.parametrize("bounds", [[0, 1], np.array([0.0, 1.0]), torch.tensor([0.0, 1.0]), (np.float32(0), 1)])
def test_a_range_may_be_written_in_many_ways(bounds):
    assert Ball.checked("L2", 0.1, bounds) == Ball("L2", 0.1, (0.0, 1.0))


def test_an_excess_of_rounding_is_said_with_its_size():
    above, below = X.clone(), X.clone()
    above[0, 0, 0, 0], below[1, 0, 0, 0] = 1 + 2**-23, -1e-9
    attack = robustcl.attacks.PGD(_model(), eps=0.1)
    with pytest.raises(DataError, match=r"above 1 by 1\.2e-07: clamp them, x\.clamp\(0, 1\)"):
        attack(above, Y)
    with pytest.raises(DataError, match="below 0 by 1e-09: clamp"):
        attack(below, Y)
    with robustcl.guard(_model()) as report:
        assert any("above 1 by 1.2e-07: clamp" in said for said in report.check(X, above, eps=0.1))


@pytest.mark.parametrize("x", [(X * 255).byte(), X.numpy(), X[:, 0, 0, 0], None])
def test_inputs_that_a_guard_cannot_hold_are_a_sentence(x):
    with robustcl.guard(_model()) as report:
        (said,) = report.check(x, X, eps=0.1)
        assert "not a floating-point tensor" in said
        with pytest.raises(RobustclError, match="not a floating-point tensor"):
            report.require(x, X, eps=0.1)
