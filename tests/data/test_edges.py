"""What a plugin promises of its data, labels and classes that agree, and archives of every shape, case by case."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from robustcl.data import promises
from robustcl.data.agreement import require_learnable, require_named, require_validation, without_image
from robustcl.errors import DataError, UsageError
from robustcl_plugins.datasets.npz import Npz


@pytest.mark.parametrize(("item", "fits"), [
    ((1, 1, 1), True), ([3, 8, 8], True), ((np.int64(3), 8), True), ((0, 8, 8), False), ((3, -1), False), ((), False),
    ((3.0, 8), False), (3, False), (None, False),
])  # fmt: skip
def test_the_shape_of_an_image_is_whole_numbers_from_1(item: Any, fits: bool) -> None:
    if fits:
        promises._check_item(item, "it")
    else:
        with pytest.raises(DataError, match="it must say the shape of one image"):
            promises._check_item(item, "it")


@pytest.mark.parametrize(("labels", "words"), [
    ([0, 1], "not a list"), (torch.tensor([0.0]), r"not torch.float32 \(1,\)"),
    (torch.tensor([[0]]), r"int64 \(1, 1\)"),
    (torch.tensor([0], dtype=torch.int32), "not torch.int32"), (torch.zeros(0, dtype=torch.int64), "holds no image"),
])  # fmt: skip
def test_labels_are_a_tensor_of_whole_numbers(labels: Any, words: str) -> None:
    promises._check_labels(torch.tensor([0, -1]), "it")
    with pytest.raises(DataError, match=words):
        promises._check_labels(labels, "it")


@pytest.mark.parametrize(("said", "words"), [
    ({"remarks": "one sentence"}, "remarks must be several sentences"), ({"remarks": ["a", 3]}, "several sentences"),
    ({"left_out": []}, "left_out must hold"), ({"left_out": {"a": 3}}, "left_out must hold"),
    ({"left_out": {"a": {"count": 1}}}, "a count and names for each reason"),
])  # fmt: skip
def test_what_a_source_says_beside_its_images(said: dict[str, Any], words: str) -> None:
    for sound in ({}, {"remarks": ("a", "b")}, {"left_out": {"a": {"count": 1, "names": [], "more": 2}}}):
        promises._check_words(SimpleNamespace(**sound), "it")
    with pytest.raises(DataError, match=words):
        promises._check_words(SimpleNamespace(**said), "it")


def test_long_values_are_cut_to_a_line() -> None:
    assert promises._brief("x" * 78) == repr("x" * 78)
    assert promises._brief("x" * 79) == repr("x" * 79)[:80] + "..."


def statistics(given: Any) -> Any:
    dataset: Any = SimpleNamespace(statistics=lambda: given)
    return promises.statistics(dataset, 3)


@pytest.mark.parametrize("given", [
    ((0.5,), (0.25,)), ((0.1, 0.2, 0.3), (1, 2, 3)), [[0.5], [0.25]], (np.array([0.5]), np.array([0.25])),
])  # fmt: skip
def test_statistics_of_one_or_every_channel(given: Any) -> None:
    mean, std = statistics(given)
    assert mean == pytest.approx(tuple(map(float, given[0])))
    assert std == pytest.approx(tuple(map(float, given[1])))


@pytest.mark.parametrize("given", [
    None, (0.5, 0.25), ((0.5,), (0.0,)), ((0.5,), (-1.0,)), ((0.5, 0.5), (1.0, 1.0)), ((0.5,), (1.0, 1.0, 1.0)),
    ((0.5,), (float("nan"),)), ((float("inf"),), (1.0,)), (("a",), (1.0,)), ((0.5,),), ((), ()),
    ((0.5,), (1.0,), (1.0,)),
])  # fmt: skip
def test_statistics_that_are_none(given: Any) -> None:
    with pytest.raises((DataError, ValueError), match=r"must give a mean and a positive|fails to tell its mean"):
        statistics(given)


def test_labels_and_classes_agree() -> None:
    names = [f"c{number}" for number in range(8)]
    require_named(torch.tensor([-1, 0, 7]), "train", 8)
    require_named(torch.tensor([0, 7]), "test", 8)
    for labels, split, row in (([0, 8], "train", 1), ([-2, 0], "train", 0), ([0, -1], "test", 1), ([8, -1], "test", 0)):
        with pytest.raises(DataError, match=f"image {row} of {split} has the label {labels[row]}, and the data"):
            require_named(torch.tensor(labels), split, 8)
    require_learnable(torch.tensor([-1, -1]), torch.tensor([5]), names)
    require_learnable(torch.tensor([0, 2, -1]), torch.tensor([2, 0]), names)
    for train, test, words in (
        ([1, 2], [1, 2], "the labels begin at 1 and classes count from 0, so that 'c0' would be a class without an"),
        ([0, 1], [0, 2, 3], "the test images have the class c2, c3, of which"),
        ([0], [0, 1, 2, 3, 4, 5], "the class c1, c2, c3, c4, c5, of which"),
        ([0], list(range(8)), "the class c1, c2, c3, c4, c5 and 2 more, of which"),
    ):
        with pytest.raises(DataError, match=words):
            require_learnable(torch.tensor(train), torch.tensor(test), names)
    require_validation(torch.tensor([0]), 0, 0.0)
    require_validation(torch.tensor([0]), 1, 0.1)
    require_validation(torch.tensor([-1]), 0, 0.1)
    with pytest.raises(UsageError, match=r"data\.validation = 0\.1 leaves no labelled image to validate on"):
        require_validation(torch.tensor([-1, 0]), 0, 0.1)
    assert without_image(torch.tensor([0, 2, -1]), names[:4]) == ["c1", "c3"]
    assert without_image(torch.tensor([-1]), names[:4]) == []


def archive(path: Path, **changes: Any) -> Npz:
    x = np.zeros((4, 8, 8, 3), np.uint8)
    arrays = {
        "x_train": x,
        "y_train": np.array([0, 5, 1, -1]),
        "x_test": x,
        "y_test": np.array([0, 3, 1, 1]),
        **changes,
    }
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return Npz(path=str(path))


def test_classes_are_counted_over_both_splits(tmp_path: Path) -> None:
    assert archive(tmp_path / "a.npz").classes() == tuple("012345")
    assert archive(tmp_path / "b.npz", y_test=np.array([0, 7, 1, 1])).classes() == tuple("01234567")
    alone = archive(tmp_path / "c.npz", x_train=None, y_train=None)
    assert alone.classes() == tuple("0123")
    assert alone.open("test").item == (3, 8, 8)


@pytest.mark.parametrize(("labels", "remedy"), [
    (np.zeros((4, 1)), r": give one integer per image, shape \(N,\); y_train\[:, 0\]$"),
    (np.zeros((4, 2)), r"one-hot\), y_train.argmax\(axis=1\)$"), (np.zeros(4), r"; y_train.astype\('int64'\)$"),
    (np.zeros(4, bool), r"; y_train.astype\('int64'\)$"), (np.zeros((4, 2, 2)), r"shape \(N,\)$"),
    (np.zeros(4, complex), r"shape \(N,\)$"),
    (np.array(["a"] * 4), r"numpy.unique\(y_train, return_inverse=True\)\[1\]$"),
    (np.zeros((4, 1, 1), bool), r"shape \(N,\)$"), (np.int64(3), r"shape \(N,\)$"),
])  # fmt: skip
def test_labels_of_other_kinds_bring_the_remedy_that_fits(tmp_path: Path, labels: Any, remedy: str) -> None:
    with pytest.raises(DataError, match=remedy):
        archive(tmp_path / "a.npz", y_train=labels).open("train")


@pytest.mark.parametrize(("images", "words"), [
    (np.zeros((4, 8), np.uint8), r"has the shape \(4, 8\): give"), (np.zeros((4, 0, 8), np.uint8), r"has the shape"),
    (np.zeros((0, 8, 8), np.uint8), "holds no images"), (np.zeros((4, 1, 1, 1, 1, 1), np.uint8), "has the shape"),
    (np.zeros((4, 8, 8), bool), r"of True and False, x_train.astype\('uint8'\) \* 255$"),
    (np.zeros((4, 8, 8), np.int64), r"of values to 255, x_train.astype\('uint8'\)$"),
    (np.zeros((4, 8, 8), np.uint16), r"of 16 bits, \(x_train / 65535\).astype\('float32'\)$"),
    (np.zeros((4, 8, 8, 8), np.uint8), "the channel axis cannot be told"),
    (np.zeros((4, 3, 8, 3), np.uint8), "cannot be told"),
    (np.full((4, 8, 8), 1.5), "has values from 1.5 to 1.5"), (np.full((4, 8, 8), -0.5), "has values from -0.5"),
    (np.full((4, 8, 8), np.nan), "holds nan in image 0"), (np.zeros((4, 8, 8), complex), r"floats in \[0, 1\]$"),
])  # fmt: skip
def test_images_of_other_kinds_bring_theirs(tmp_path: Path, images: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        archive(tmp_path / "a.npz", x_train=images).open("train")


def test_channels_of_up_to_four_are_told_by_their_place(tmp_path: Path) -> None:
    for shape, item in (
        ((4, 8, 8, 4), (4, 8, 8)), ((4, 4, 8, 8), (4, 8, 8)), ((4, 8, 8), (1, 8, 8)), ((4, 5, 8, 1), (1, 5, 8)),
        ((4, 3, 2, 8, 8), (3, 2, 8, 8)), ((4, 2, 8, 8, 3), None),
    ):  # fmt: skip
        data = archive(tmp_path / "a.npz", x_train=np.zeros(shape, np.uint8), x_test=np.zeros(shape, np.uint8))
        if item is not None:
            assert data.open("train").item == item
    last = Npz(path=data.path, layout="channels-last").open("train")
    assert last.item == (3, 2, 8, 8)
    assert Npz(path=data.path, layout="channels-first").open("train").item == (2, 8, 8, 3)


def test_labels_at_their_bounds(tmp_path: Path) -> None:
    for split, least in (("train", -1), ("test", 0)):
        sound = archive(tmp_path / "a.npz", **{f"y_{split}": np.array([least, 0, 1, 0])})
        assert sound.open(split).labels.tolist() == [least, 0, 1, 0]
        with pytest.raises(DataError, match=f"holds the label {least - 1} in row 2"):
            archive(tmp_path / "a.npz", **{f"y_{split}": np.array([0, 0, least - 1, 0])}).open(split)
    with pytest.raises(DataError, match="holds the label 18446744073709551615 in row 1: classes count from 0 to"):
        archive(tmp_path / "a.npz", y_train=np.array([0, 2**64 - 1, 0, 0], np.uint64)).open("train")
    with pytest.raises(DataError, match="has 3 labels for the 4 images of x_train: give one each"):
        archive(tmp_path / "a.npz", y_train=np.zeros(3, int)).open("train")
    with pytest.raises(DataError, match=r"of test have the shape \(3, 9, 8\) but those of x_train \(3, 8, 8\)"):
        archive(tmp_path / "a.npz", x_test=np.zeros((4, 9, 8, 3), np.uint8)).open("test")
    fresh = archive(tmp_path / "b.npz", x_pretrain=np.zeros((2, 8, 8, 3), np.uint8)).open("pretrain")
    assert fresh.labels.tolist() == [-1, -1]
