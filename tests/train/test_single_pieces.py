"""Single pieces: an image of index 0 in a bank, what a stage leaves without gradient, the error of a fall."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from robustcl import compose
from robustcl.nn.encoder import build_encoder
from robustcl.nn.projector import Projector
from robustcl.rng import Rng
from robustcl.testing import make_embedding, make_scene
from robustcl.testing.builders import DIMS
from robustcl.train.encoders import ONLINE, freeze_idle
from robustcl.train.falling import _error
from robustcl.types import Dims
from robustcl_plugins.encoders.resnet_small import ResNetSmall
from robustcl_plugins.selectors.fnc import FNC
from tests.shared.one_step import TINY, stage_run


def test_the_first_image_of_a_data_set_is_remembered_too() -> None:
    selector = FNC(bank=4, threshold=0.999)
    selector.build(DIMS)

    def scene(first: int) -> Any:
        views = {"a": make_embedding(2, seed=first), "b": make_embedding(2, seed=first + 50)}
        return make_scene(views, index=torch.tensor([first, first + 1]))

    selector.remember(scene(0))
    assert sorted(selector.memory_index.tolist()) == [0, 0, 1, 1]
    pairs = selector.select(scene(10))
    known = (pairs.negative | pairs.positive)[:, 4:]
    assert known.shape == (4, 4)
    assert bool(known.all())
    again = selector.select(scene(0))
    of_itself = (again.negative | again.positive)[:, 4:].sum(1)
    assert of_itself.tolist() == [2, 2, 2, 2]  # an image is no negative of its own earlier view


@pytest.mark.parametrize(("layers", "idle"), [({"h"}, {"projector", "classifier"}), ({"z"}, {"classifier"}),
                                              ({"logits"}, {"projector"}), ({"z", "logits"}, set())])  # fmt: skip
def test_what_no_term_reads_has_no_gradient(layers: set[str], idle: set[str]) -> None:
    online = build_encoder(
        ResNetSmall(width=2), name="resnet-small", item=(1, 8, 8), classes=3, projector=Projector(widths=(4,)),
        mean=(0.0,), std=(1.0,), routes=("main",), rng=Rng(0),
    )  # fmt: skip
    ref = SimpleNamespace(encoder=ONLINE, view="a")
    term = SimpleNamespace(layers=frozenset(layers), roles=(("a", ref),))
    plan: Any = SimpleNamespace(terms=(term,), trainable=(ONLINE,), freeze=(), route_of=lambda view, main: main)
    freeze_idle(plan, online, "main")
    for part in ("backbone", "projector", "classifier"):
        flags = {parameter.requires_grad for parameter in online.get_submodule(part).parameters()}
        assert flags == {part not in idle}, part


def test_the_error_of_a_fall_by_hand() -> None:
    losses = [1.0, 2.0, 4.0, 3.0, 3.0]
    # Steps 1, 2, -1, 0 have the mean 0.5 and the variance 5 / 3; sizes are 2 and 3.
    assert _error(losses, [0, 1], [2, 3, 4]) == pytest.approx((5 / 3) ** 0.5 * (0.5 * (1 / 2 + 1 / 3)) ** 0.5)
    assert _error(losses, [0], [1, 2]) == 0.0


def test_heads_are_drawn_from_a_stream_of_each_part_s_own(tmp_path: Path) -> None:
    composition = compose(recipe="rotation", budget="smoke", overrides=TINY)
    run = stage_run(composition, composition.stages[0], tmp_path)
    online = run.encoders.online
    dims = Dims(online.features, online.projection, online.classes, (), run.images.item, run.images.samples)
    parts = {
        id(part.plugin): (number, part.plugin) for number, part in enumerate(run.plan.parts())
    }  # the last one counts
    heads = [(number, plugin) for number, plugin in parts.values() if isinstance(plugin, nn.Module)]
    assert heads
    for number, plugin in heads:
        again: Any = copy.deepcopy(plugin)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(run.rng.child("build", number).seed())
            again.build(dims)
        state = plugin.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in again.state_dict().items())
