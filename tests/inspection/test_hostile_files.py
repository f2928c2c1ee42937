"""Files that people really have: each is read right or refused in one sentence, by the check and before training."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import robustcl
from robustcl.analysis.bare import ModelQuestion, judge_model
from robustcl.errors import DataError
from robustcl.inspection import Inspection
from robustcl_plugins.datasets.imagefolder import ImageFolder
from tests.shared.folders import image_folder

N = 40
LABELS = np.arange(N) % 4
X = np.random.default_rng(0).integers(0, 256, (N, 8, 8), dtype=np.uint8)


def seen(folder: Path, **changes: Any) -> Inspection:
    test = np.random.default_rng(1).integers(0, 256, (N, 8, 8), dtype=np.uint8)
    np.savez(folder / "a.npz", **{"x_train": X, "y_train": LABELS, "x_test": test, "y_test": LABELS, **changes})
    return robustcl.check_data(f"npz:{folder / 'a.npz'}")


@pytest.mark.parametrize(
    "labels",
    [LABELS.astype(np.uint64), LABELS.astype(">i8"), LABELS.astype(np.int8), np.asfortranarray(LABELS)],
)
def test_integers_of_every_kind_are_labels(tmp_path: Path, labels: Any) -> None:
    found = seen(tmp_path, y_train=labels)
    assert found.ok
    assert found.splits["train"].labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"y_train": np.where(LABELS == 3, 2**63, LABELS).astype(np.uint64)}, "label 9223372036854775808 in row 3"),
        ({"y_train": LABELS > 1}, r"y_train is bool .* y_train.astype\('int64'\)"),
        ({"y_train": LABELS.astype("M8[s]")}, "y_train is datetime64"),
        ({"y_train": np.array(3)}, r"of shape \(\): give one integer per image"),
        ({"y_train": LABELS[:-1]}, "39 labels for the 40 images"),
        ({"x_train": X[:1]}, "40 labels for the 1 images"),
        ({"x_train": np.where(X == 0, np.inf, X / 255)}, "holds inf in image"),
        ({"x_train": np.where(X == 0, -np.inf, X / 255)}, "holds -inf in image"),
        ({"x_train": X / 255 - 0.1}, "values from -0.1 to 0.9"),
    ],
)
def test_a_fault_of_one_split_leaves_the_other_to_be_told(tmp_path: Path, changes: Any, sentence: str) -> None:
    found = seen(tmp_path, **changes)
    assert list(found.splits) == ["test"]
    assert re.search(sentence, found.faults[0])


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (X > 127, r"x_train is bool: .* x_train.astype\('uint8'\) \* 255"),
        (X.astype(np.int64), r"x_train is int64: .* x_train.astype\('uint8'\)"),
        (X.astype(np.uint16) * 257, r"x_train is uint16: .*\(x_train / 65535\)"),
        (X.astype(complex), "x_train is complex128: store the images"),
        (X.reshape(N, 64), r"has the shape \(40, 64\): give"),
        (np.zeros((N, 3, 8, 3), np.uint8), "channel axis cannot be told: write layout"),
        (np.zeros((N, 0, 8), np.uint8), r"has the shape \(40, 0, 8\)"),
    ],
)
def test_pixels_that_are_none_are_one_sentence(tmp_path: Path, images: Any, sentence: str) -> None:
    found = seen(tmp_path, x_train=images)
    assert not found.splits
    assert any(re.search(sentence, fault) for fault in found.faults), found.faults


def test_a_layout_that_cannot_be_told_is_taken_as_it_is_said(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (N, 3, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=LABELS, x_test=x[::-1], y_test=LABELS[::-1])
    for layout, item in (("channels-first", (3, 8, 3)), ("channels-last", (3, 3, 8))):
        found = robustcl.check_data(f"npz:{tmp_path / 'a.npz'}", overrides=[f"data.layout={layout}"])
        assert found.splits["train"].item == item
        assert found.shared[0].images == N


def test_one_array_is_no_archive(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", X)
    (fault,) = robustcl.check_data(f"npz:{tmp_path / 'a.npy'}").faults
    assert "is one array (.npy): save all of them together, numpy.savez" in fault


def test_a_flipped_byte_is_found(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=X, y_train=LABELS, x_test=X, y_test=LABELS)
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[1000] ^= 1
    (tmp_path / "a.npz").write_bytes(data)
    faults = robustcl.check_data(f"npz:{tmp_path / 'a.npz'}").faults
    assert any("Bad CRC-32" in fault and "save it again" in fault for fault in faults)


def looked_at(root: Path) -> Inspection:
    return robustcl.check_data(f"imagefolder:{root}", overrides=["data.size=8"])


def test_folders_as_people_have_them(tmp_path: Path) -> None:
    """Upper-case suffixes, folders within a class, links to images and to folders, a file beside the classes."""
    root = image_folder(tmp_path / "images")
    cat = root / "train/cat"
    (cat / "0.png").rename(cat / "0.PNG")
    (cat / "deep/er").mkdir(parents=True)
    (cat / "1.png").rename(cat / "deep/er/1.png")
    (tmp_path / "elsewhere").mkdir()
    (cat / "2.png").rename(tmp_path / "elsewhere/2.png")
    (cat / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "train/dog/loop").symlink_to(root / "train/dog")
    (root / "train/dog/around").symlink_to(root / "train")
    (root / "train/cow").write_bytes(b"a file, named as a class might be")
    (root / "train/dog" / os.fsdecode(b"\xff.png")).write_bytes((root / "train/dog/0.png").read_bytes())
    found = looked_at(root)
    assert found.ok, found.faults
    assert found.classes == ("cat", "dog")
    assert found.classes_to_frame()[["train", "test"]].to_numpy().tolist() == [[3, 3], [4, 3]]
    left_out = found.splits["train"].left_out
    assert left_out["links back to a folder above"] == {"count": 2, "names": ["dog/around", "dog/loop"]}
    assert left_out["files beside the folders of the classes"]["names"] == ["cow"]
    assert found.repeats["train"].images == 1
    str(found).encode("utf-8", "surrogateescape")


def test_empty_classes_and_unequal_ones_are_sentences(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "images")
    (root / "train/eel").mkdir()
    assert any("the folder eel has no image" in fault for fault in looked_at(root).faults)
    (root / "train/eel").rmdir()
    for file in (root / "test/dog").iterdir():
        file.unlink()
    (root / "test/dog").rmdir()
    assert any("has the classes cat but train has cat, dog" in fault for fault in looked_at(root).faults)


MODEL = """
from torch import nn
def build():
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 2))
"""


def test_what_a_folder_leaves_out_is_said_where_a_model_is_judged_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = image_folder(tmp_path / "images")
    (root / "test/cat/a.gif").write_bytes(b"x")
    (tmp_path / "folder_models.py").write_text(MODEL, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    said: list[str] = []
    torch.manual_seed(0)
    asked = ModelQuestion("folder_models:build", f"imagefolder:{root}", attacks=("fgsm",), audit=0)
    judge_model(asked, tmp_path / "out", device="cpu", say=said.append)
    assert any("left out 1 .gif (cat/a.gif)" in line for line in said)


def test_a_source_says_where_its_images_lie(tmp_path: Path) -> None:
    source = ImageFolder(path=str(image_folder(tmp_path / "images")), size=8).open("train")
    assert source.name(4) == str(tmp_path / "images/train/dog/1.png")
    (tmp_path / "images/train/dog/1.png").unlink()
    with pytest.raises(DataError, match="there is no file"):
        source.fetch(torch.tensor([4]))
