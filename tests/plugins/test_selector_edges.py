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


def test_a_bank_stands_behind_the_columns_and_names_nobody() -> None:
    fnc = built(FNC(bank=3))
    z = torch.eye(2, DIMS.projection)
    fnc.remember(make_scene({"v": Embedding(z=z)}, index=torch.tensor([7, 4])))
    assert fnc.memory_index.tolist() == [7, 4, -1]
    columns = fnc.select(make_scene({"v": Embedding(z=z)}, label=torch.tensor([3, 1]))).columns
    assert columns.index.tolist() == [0, 1, 7, 4, -1]
    assert columns.label.tolist() == [3, 1, -1, -1, -1]
    assert columns.view.tolist() == [0, 0, -1, -1, -1]
    assert columns.sample[:2].tolist() == [0, 1]
    assert bool((columns.sample[2:] < 0).all())
    assert torch.equal(columns.z, torch.cat([z, z, torch.zeros(1, DIMS.projection)]))


def test_a_bank_is_filled_view_by_view_whatever_the_order_of_the_rows() -> None:
    """Ranks bring their rows one behind the other: both views of some images, then both of others."""
    scene = make_scene({name: Embedding(z=torch.randn(3, DIMS.projection)) for name in "ab"})
    ordered, mixed = built(FNC(bank=4)), built(FNC(bank=4))
    ordered.remember(scene)
    assert torch.equal(ordered.memory, scene.columns.z[:4])
    assert ordered.memory_index.tolist() == [0, 1, 2, 0]
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    columns = scene.columns
    shuffled = type(columns)(
        **{name: getattr(columns, name)[order] for name in ("sample", "view", "label", "index", "z")}
    )
    mixed.remember(scene.but(columns=shuffled))
    assert torch.equal(mixed.memory, ordered.memory)
    assert mixed.memory_index.tolist() == [0, 1, 2, 0]


def test_a_bank_that_is_older_is_pushed_back() -> None:
    fnc = built(FNC(bank=3))
    for first in (10, 20):
        fnc.remember(
            make_scene({"v": Embedding(z=torch.eye(2, DIMS.projection))}, index=torch.tensor([first, first + 1]))
        )
    assert fnc.memory_index.tolist() == [20, 21, 10]


@pytest.mark.parametrize(("rule", "top", "found"), [
    ("and", 2, [[1], [0]]), ("and", 1, [[1], [0]]), ("or", 2, [[1, 2], [0, 2]]), ("threshold", 2, [[1], [0]]),
    ("top", 2, [[1, 2], [0, 2]]), ("top", 1, [[1], [0]]), ("top", 99, [[1, 2, 3], [0, 2, 3]]), ("or", 1, [[1], [0]]),
])  # fmt: skip
def test_rules_of_cancellation(rule: Any, top: int, found: list[list[int]]) -> None:
    """Cosines of the first two images: 0.8 to each other, 0.6 or less to the third, 0 or less to the fourth."""
    z = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.6, 0.0, 0.8], [0.0, 0.0, -1.0]], dtype=torch.float64)
    pairs = built(FNC(threshold=0.7, top=top, rule=rule)).select(make_scene({"v": Embedding(z=z)}))
    assert [row.nonzero()[:, 0].tolist() for row in pairs.positive[:2]] == found
    eliminated = built(FNC(threshold=0.7, top=top, rule=rule, detected="eliminate")).select(
        make_scene({"v": Embedding(z=z)})
    )
    assert [row.nonzero()[:, 0].tolist() for row in eliminated.negative[:2]] == [
        [column for column in range(4) if column != anchor and column not in found[anchor]] for anchor in (0, 1)
    ]
    assert not eliminated.positive.any()


def test_a_clean_copys_prediction_is_that_of_the_anchors_own_image() -> None:
    """Clean copies are predicted 0 and 1, adversarial ones 1 and 0; both images are of classes of their own."""
    from robustcl_plugins.selectors.local import SoftLS

    clean, adversarial = torch.eye(2), torch.eye(2).flip(0)
    scene = make_scene(
        {"c": Embedding(z=torch.eye(2), logits=clean), "a": Embedding(z=torch.eye(2), logits=adversarial)},
        label=torch.tensor([0, 1]),
    )
    # Columns are c0, c1, a0, a1, predicted 0, 1, 1, 0; an anchor's negatives are of the other image.
    assert SoftLS(prediction="clean").select(scene).negative.tolist() == [
        [False, False, False, True], [False, False, True, False], [False, False, False, True],
        [False, False, True, False],
    ]  # fmt: skip
    assert SoftLS().select(scene).negative.tolist() == [
        [False, False, False, True], [False, False, True, False], [False, True, False, False],
        [True, False, False, False],
    ]  # fmt: skip
