"""NumPy's and torch's numbers as seeds and counts of the Python doors: the same as Python's, and the same streams."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import robustcl
from robustcl.errors import UsageError
from robustcl.rng import Rng
from robustcl.study.plan.setting import Setting

WHOLE = [np.int64, np.uint8, np.int32, np.array, torch.tensor]


@pytest.mark.parametrize("whole", WHOLE)
def test_a_seed_of_a_composition(whole):
    made = robustcl.compose(recipe="ncp", dataset="digits", budget="smoke", seed=whole(3))
    assert type(made.recipe.seed) is int
    assert made.recipe == robustcl.compose(recipe="ncp", dataset="digits", budget="smoke", seed=3).recipe


@pytest.mark.parametrize("seed", [1.5, True, "3", np.bool_(True), np.float32(0.5), [3]])
def test_what_is_no_seed_of_a_composition(seed):
    with pytest.raises(UsageError, match=r"seed = .* is not accepted; give an integer"):
        robustcl.compose(recipe="ncp", dataset="digits", budget="smoke", seed=seed)


@pytest.mark.parametrize("whole", WHOLE)
def test_a_stream_is_named_by_the_number_and_not_by_its_type(whole):
    for mine, theirs in (
        (Rng(whole(3)), Rng(3)),
        (Rng(3, "epoch", whole(5)), Rng(3, "epoch", 5)),
        (Rng(3).child(whole(5)), Rng(3).child(5)),
    ):
        assert torch.equal(mine.uniform((4,)), theirs.uniform((4,)))
    assert not torch.equal(Rng(3, "5").uniform((4,)), Rng(3, 5).uniform((4,)))


@pytest.mark.parametrize("kind", [*WHOLE, float, np.float64])
def test_counts_of_a_study(kind):
    assert Setting(seeds=kind(2), samples=kind(40)) == Setting(seeds=2, samples=40)


@pytest.mark.parametrize("wrong", [1.5, True, "2", math.nan, -1, [2], np.float32(0.5)])
def test_what_is_no_count(wrong, tmp_path):
    with pytest.raises(UsageError, match=r"seeds = .*write 0 or more"):
        Setting(seeds=wrong)
    with pytest.raises(UsageError, match=r"samples = .*write 1 or more"):
        Setting(samples=wrong)
    with pytest.raises(UsageError, match=r"devices = .*write 1 or more"):
        robustcl.compose(recipe="ncp", dataset="digits", budget="smoke").train(tmp_path / "run", devices=wrong)
    assert not (tmp_path / "run").exists()
