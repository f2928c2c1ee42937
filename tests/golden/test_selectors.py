"""The selectors against loops over the definitions, and masks written by hand."""

from __future__ import annotations

import pytest
import torch

from robustcl.rng import Rng
from robustcl.testing import make_scene
from robustcl.types import Embedding, Pairs, Scene
from robustcl_plugins.selectors.all import All
from robustcl_plugins.selectors.by_label import Global
from robustcl_plugins.selectors.detection import Detected
from robustcl_plugins.selectors.oracle import Oracle


def _scene(views: int, label: list[int]) -> Scene:
    z = {str(i): Embedding(z=Rng(i).normal((len(label), 3))) for i in range(views)}
    return make_scene(z, label=torch.tensor(label))


def _masks(pairs: Pairs) -> tuple[list[list[int]], list[list[int]]]:
    return pairs.positive.int().tolist(), pairs.negative.int().tolist()


@pytest.mark.golden("selector", "all")
def test_all_by_hand() -> None:
    """Two images in two views; rows a0 a1 b0 b1."""
    positive, negative = _masks(All().select(_scene(2, [-1, -1])))
    assert positive == [[0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0]]
    assert negative == [[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]]


@pytest.mark.golden("selector", "all")
@pytest.mark.parametrize(("views", "images"), [(1, 3), (3, 4), (2, 1)])
def test_all_against_the_definition(views: int, images: int) -> None:
    positive, negative = _masks(All().select(_scene(views, [0] * images)))
    for i in range(views * images):
        for j in range(views * images):
            same = i % images == j % images
            assert positive[i][j] == (same and i != j)
            assert negative[i][j] == (not same)


@pytest.mark.golden("selector", "global")
def test_global_by_hand() -> None:
    """Four images of the classes 0, 1, 0 and none, in one view."""
    positive, negative = _masks(Global().select(_scene(1, [0, 1, 0, -1])))
    assert positive == [[0, 0, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert negative == [[0, 1, 0, 1], [1, 0, 1, 1], [0, 1, 0, 1], [1, 1, 1, 0]]


@pytest.mark.golden("selector", "global")
@pytest.mark.parametrize("label", [[0, 1, 0, 2], [1, 1, 1], [-1, -1, 0], [-1, 2, -1, 2]])
def test_global_against_the_definition(label: list[int]) -> None:
    positive, negative = _masks(Global().select(_scene(2, label)))
    n = len(label)
    for i in range(2 * n):
        for j in range(2 * n):
            mates = i % n == j % n or (label[i % n] == label[j % n] and label[i % n] != -1)
            assert positive[i][j] == (mates and i != j)
            assert negative[i][j] == (not mates)


@pytest.mark.golden("selector", "global")
def test_global_without_labels_is_all() -> None:
    scene = _scene(2, [-1] * 5)
    assert _masks(Global().select(scene)) == _masks(All().select(scene))


@pytest.mark.golden("selector", "oracle")
@pytest.mark.parametrize("detected", ["eliminate", "attract"])
@pytest.mark.parametrize("label", [[0, 1, 0, 2], [1, 1, 1], [-1, -1, 0], [-1, 2, -1, 2]])
def test_the_oracle_knows_every_false_negative(label: list[int], detected: Detected) -> None:
    positive, negative = _masks(Oracle(detected=detected).select(_scene(2, label)))
    n = len(label)
    for i in range(2 * n):
        for j in range(2 * n):
            same, mates = i % n == j % n, label[i % n] == label[j % n] and label[i % n] != -1
            assert negative[i][j] == (not same and not mates)
            assert positive[i][j] == ((same and i != j) or (not same and mates and detected == "attract"))


@pytest.mark.golden("selector", "oracle")
def test_an_oracle_that_attracts_supervises() -> None:
    scene = _scene(2, [0, 1, 0, -1, 1])
    assert _masks(Oracle(detected="attract").select(scene)) == _masks(Global().select(scene))


@pytest.mark.golden("selector", "all")
@pytest.mark.golden("selector", "global")
@pytest.mark.golden("selector", "oracle")
@pytest.mark.parametrize("selector", [All(), Global(), Oracle()])
def test_anchors_of_one_rank_against_the_columns_of_two(selector: All | Global | Oracle) -> None:
    scene = _scene(2, [0, 1, 1, 0])
    here = torch.tensor([2, 3, 6, 7])
    names = ("sample", "view", "label", "index", "z")
    part = scene.but(rows=scene.rows.but(**{n: getattr(scene.rows, n)[here] for n in names}), own=here)
    whole, cut = selector.select(scene), selector.select(part)
    assert torch.equal(whole.positive[here], cut.positive)
    assert torch.equal(whole.negative[here], cut.negative)
