"""The selectors of false negatives at their thresholds, on a batch of one image, and with a bank of features."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from robustcl.testing import make_scene
from robustcl.testing.builders import DIMS
from robustcl.types import Embedding, Scene
from robustcl_plugins.selectors.adaptive import AdaptiveFNC
from robustcl_plugins.selectors.fnc import FNC
from robustcl_plugins.selectors.glofnd import GloFND


def built(plugin: Any, dims: Any = DIMS) -> Any:
    plugin.build(dims)
    return plugin


def upright() -> Scene:
    """Return two images, one view each, whose cosine is 0 to the bit."""
    return make_scene({"v": Embedding(z=torch.eye(2, dtype=torch.float64))})


def test_a_cosine_equal_to_the_threshold_is_not_detected() -> None:
    scene, off_diagonal = upright(), [[False, True], [True, False]]
    assert AdaptiveFNC(rho=0.0).select(scene).negative.tolist() == off_diagonal
    assert built(FNC(threshold=0.0)).select(scene).negative.tolist() == off_diagonal
    glofnd = built(GloFND(learning=0))
    glofnd.threshold.zero_()
    assert (glofnd.select(scene).negative > 0).tolist() == off_diagonal


def test_a_cosine_equal_to_the_threshold_does_not_count_as_above_it() -> None:
    """The share above is 0 and not 1, less than alpha: the threshold falls, by the length of a first step, lr."""
    glofnd = built(GloFND(alpha=0.25, lr=0.5)).double()
    glofnd.threshold.zero_()
    glofnd.remember(upright())
    assert glofnd.threshold[:2].tolist() == pytest.approx([-0.5, -0.5], rel=1e-6)
    assert glofnd.threshold[2:].tolist() == [0.0] * (DIMS.samples - 2)


def test_a_batch_of_one_image_teaches_no_threshold() -> None:
    views = [Embedding(z=torch.ones(1, 5)), Embedding(z=torch.ones(1, 5))]
    scene = make_scene({"a": views[0], "b": views[1]})
    glofnd = built(GloFND(alpha=0.3, lr=0.5))
    glofnd.threshold.fill_(0.25)
    glofnd.remember(scene)
    assert glofnd.threshold.tolist() == [0.25] * DIMS.samples
    assert glofnd.select(scene).negative.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_a_bank_of_features_is_as_wide_as_features() -> None:
    dims = type(DIMS)(features=7, projection=3, classes=4, clusters=(3,), item=DIMS.item, samples=24)
    view = Embedding(h=torch.eye(4, 7), z=torch.ones(4, 3))
    fnc = built(FNC(layer="h", bank=4), dims)
    fnc.remember(make_scene({"v": view}))
    assert torch.equal(fnc.memory, view.h)
    assert torch.equal(fnc.select(make_scene({"v": view})).columns.h, torch.cat([view.h, view.h]))


def test_the_bank_keeps_no_graph() -> None:
    fnc = built(FNC(bank=4))
    fnc.remember(make_scene({"v": Embedding(z=torch.ones(4, DIMS.projection, requires_grad=True))}))
    assert not fnc.memory.requires_grad


def test_without_a_label_an_image_is_compared_by_its_own_number() -> None:
    """A bank row of another image is a candidate at a cosine of 1, and the anchor's own is never one."""
    fnc = built(
        FNC(threshold=0.5, bank=2),
        type(DIMS)(features=2, projection=2, classes=4, clusters=(3,), item=DIMS.item, samples=24),
    )
    same = Embedding(z=torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    fnc.remember(make_scene({"v": same}, index=torch.tensor([0, 9])))
    pairs = fnc.select(make_scene({"v": Embedding(z=torch.tensor([[1.0, 0.0]]))}, index=torch.tensor([0])))
    assert pairs.positive.tolist() == [[False, False, True]]
