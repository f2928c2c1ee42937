"""The count of what goes through the encoders: by hand for a step, kept in checkpoints, and whole after a resume."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robustcl.errors import CheckpointError
from robustcl.nn.encoder import Encoder
from robustcl.nn.fast import frozen_for_attack
from robustcl.train import checkpoint, state
from robustcl.train.encoders import ONLINE, Encoders
from robustcl.train.loop import StageRun
from robustcl.train.passes import Passes
from tests.shared.one_step import IMAGES, one_step

H = frozenset({"h"})


def counts(encoders: Encoders) -> tuple[int, int, int]:
    return encoders.passes.forward, encoders.passes.inputs, encoders.passes.weights


def test_an_image_is_counted_by_what_a_gradient_goes_back_to() -> None:
    online, teacher = (Encoder(nn.Sequential(nn.Flatten(), nn.Linear(4, 4)), 4, item=(1, 2, 2)) for _ in range(2))
    named = Encoders(online, {"teacher": teacher}, {})
    x = torch.rand(5, 1, 2, 2)
    named.embed(x, ONLINE, "main", H, "eval")
    assert counts(named) == (0, 0, 5)
    named.embed_constant(x[:2], ONLINE, "main", H)
    with named.training_context("teacher"):
        named.embed(x[:1], "teacher", "main", H, "eval")
    named.embed(x[:1], "teacher", "main", H, "eval")  # nothing of it learns, and nobody asks for the image's gradient
    assert counts(named) == (4, 0, 5)
    with frozen_for_attack(online):
        named.embed(x[:3].clone().requires_grad_(), ONLINE, "main", H, "eval")
        named.embed(x[:1], ONLINE, "main", H, "eval")
    assert counts(named) == (5, 3, 5)
    named.embed(torch.rand(2, 9, 1, 2, 2), ONLINE, "main", H, "eval")  # nine patches of two images
    named.embed(x, ONLINE, "main", frozenset(), "eval")
    assert counts(named) == (5, 3, 7)
    assert named.passes.images == pytest.approx(3 + 7 + 5 / 3)


@pytest.mark.parametrize(("recipe", "forward", "inputs", "weights"), [
    ("simclr", 0, 0, 2),  # two views
    ("trades", 1, 10, 2),  # what the attack departs from; ten steps; the image and its neighbour
])  # fmt: skip
def test_a_step_by_hand(recipe: str, forward: int, inputs: int, weights: int) -> None:
    seen = one_step(recipe)
    assert counts(seen.run.encoders) == (forward * IMAGES, inputs * IMAGES, weights * IMAGES)


def test_a_checkpoint_brings_the_count_and_an_older_one_says_that_it_has_none(run: StageRun) -> None:
    run.encoders.passes = Passes(30, 7, 5)
    kept = state.snapshot(run, None, 5)
    checkpoint.save(run.keeping.folder, 1, kept)
    run.encoders.passes = Passes()
    state.restore(run, None)
    assert run.encoders.passes == Passes(30, 7, 5)
    del kept["passes"]
    checkpoint.save(run.keeping.folder, 2, kept)
    state.restore(run, None)
    assert run.encoders.passes == Passes(0, 0, 0, complete=False)


@pytest.mark.parametrize("value", [-1, 1.0, True, None, 2**53])
@pytest.mark.parametrize("key", ["forward", "inputs", "weights"])
def test_a_count_that_is_none_is_refused(run: StageRun, key: str, value: object) -> None:
    kept = {**state.snapshot(run, None, 5), "passes": {**Passes().packed(), key: value}}
    checkpoint.save(run.keeping.folder, 1, kept)
    with pytest.raises(CheckpointError, match=f"passes.{key} is {value}, no count"):
        state.restore(run, None)
