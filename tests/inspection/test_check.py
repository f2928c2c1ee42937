"""``robustcl data check``: what is in a data set is said before anything trains, and what would stop a run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import robustcl
from robustcl.cli.main import robustcl as command
from robustcl.data.split import holdout
from robustcl.errors import DataError, UsageError
from robustcl.inspection import Inspection
from robustcl.rng import Rng
from tests.shared.folders import image_folder

N = 40
LABELS = np.arange(N) % 4


def arrays(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (N, 8, 8), dtype=np.uint8)
    test = rng.integers(0, 256, (N, 8, 8), dtype=np.uint8)
    made = {"x_train": x, "y_train": LABELS, "x_test": test, "y_test": LABELS, **changes}
    return {name: value for name, value in made.items() if value is not None}


def found(folder: Path, **changes: Any) -> Inspection:
    np.savez(folder / "a.npz", **arrays(**changes))
    return robustcl.check_data(f"npz:{folder / 'a.npz'}")


def called(*words: str) -> Result:
    return CliRunner().invoke(command, ["data", "check", *words], standalone_mode=False)


def test_digits_are_what_scikit_learn_ships() -> None:
    from sklearn.datasets import load_digits

    seen = robustcl.check_data("digits")
    counts = seen.classes_to_frame()
    assert (counts["train"] + counts["test"]).tolist() == np.bincount(load_digits().target).tolist()
    assert seen.ok
    assert not seen.remarks
    assert seen.pretrain_is_train
    frame = seen.to_frame()
    assert frame["images"].to_dict() == {"train": 1437, "test": 360}
    assert frame["shape"].tolist() == [[1, 8, 8]] * 2
    assert frame["dtype"].tolist() == ["uint8"] * 2
    assert (frame["low"].tolist(), frame["high"].tolist()) == ([0, 0], [255, 255])
    assert seen.statistics is not None
    assert seen.splits["train"].mean == pytest.approx(seen.statistics[0])
    assert seen.splits["train"].std == pytest.approx(seen.statistics[1])
    labels = seen.splits["train"].labels
    _, held = holdout(labels, 0.1, Rng(0, "validation"))
    assert counts["validation"].tolist() == np.bincount(labels[held]).tolist()
    assert "1437" in str(seen)
    assert "144 of the 1437 training images would be held out" in str(seen)
    assert "print(it) says more" in repr(seen)


@pytest.mark.parametrize("floats", [False, True])
def test_copies_conflicts_constants_and_gaps_are_counted_and_named(tmp_path: Path, floats: bool) -> None:
    x, test = arrays()["x_train"].copy(), arrays()["x_test"].copy()
    x[3], x[7], x[20] = x[2], x[2], x[16]  # labels 2, 3, 3 and 0, 0
    x[9] = 5
    test[4], test[6], test[30] = x[1], x[2], x[24]  # labels 0 for 1; 2 for 2 and 3; 2 for 0
    labels = np.where(LABELS == 1, 4, LABELS)
    seen = found(
        tmp_path, x_train=x, x_test=(test / 255).astype(np.float32) if floats else test, y_train=labels,
        y_test=np.where(LABELS == 1, 4, LABELS),
    )  # fmt: skip
    assert seen.ok
    train = seen.repeats["train"]
    assert (train.images, train.groups) == (3, ((2, 3, 7), (16, 20)))
    assert (train.conflicts, train.contradictory) == (1, ((2, 3, 7),))
    assert seen.repeats["test"].images == 0
    (common,) = seen.shared
    assert (common.images, common.pairs) == (3, ((1, 4), (2, 6), (24, 30)))
    assert (common.conflicts, common.contradictory) == (2, ((1, 4), (24, 30)))
    assert seen.splits["train"].constant == (9,)
    text = "\n".join(seen.remarks)
    for said in (
        "train: no image has the class 1",
        "train: copies of other images in it are 3 of 40, such as train image 2, train image 3, train image 7",
        "train: under different labels once the same image, such as train image 2, train image 3, train image 7: 2 and",
        "train: of one value all over, showing nothing, are 1 of 40 images, such as train image 9",
        "test: copies of images of train are 3 of 40, such as test image 4, which is train image 1; accuracies on",
        "test: under another label than in train 2 times the same image, such as test image 4, label 0, which is",
    ):
        assert said in text


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"y_train": LABELS + 1, "y_test": LABELS + 1}, "the labels begin at 1 and classes count from 0"),
        ({"y_test": np.arange(N) % 5}, "the test images have the class 4, of which there is no training image"),
        ({"y_train": np.arange(N), "y_test": np.arange(N)}, "leaves no labelled image to validate on"),
        ({"x_test": None, "y_test": None}, "has no array 'x_test'"),
        ({"x_train": None, "y_train": None}, "has no array 'x_train'"),
        ({"x_test": arrays()["x_test"].astype(np.float32)}, "x_test has values from 0 to 255"),
        ({"x_test": arrays()["x_test"][:, :7]}, "all splits must agree"),
        ({"x_test": arrays()["x_test"] / np.where(LABELS == 3, np.nan, 255)[:, None, None]}, "holds nan in image 3:"),
        ({"y_train": np.full(N, -1)}, "train: no image has a label"),
        ({"y_train": np.zeros(N, int), "y_test": np.zeros(N, int)}, "there is one class, 0"),
    ],
)
def test_what_would_stop_a_run_is_a_fault_and_the_rest_is_told_all_the_same(
    tmp_path: Path, changes: Any, sentence: str
) -> None:
    seen = found(tmp_path, **changes)
    assert any(sentence in fault for fault in seen.faults), seen.faults
    assert seen.splits
    done = called(f"npz:{tmp_path / 'a.npz'}")
    assert done.return_value == 1
    assert "a run could not start" in done.stdout
    assert sentence in done.stdout
    told = json.loads(called(f"npz:{tmp_path / 'a.npz'}", "--json").stdout)
    assert (told["ok"], told["faults"]) == (False, list(seen.faults))


def test_what_a_run_would_not_be_stopped_by_leaves_0(tmp_path: Path) -> None:
    x = arrays()["x_train"]
    for changes, sentence in (
        ({"y_train": np.where(np.arange(N) < 10, LABELS, -1)}, "train: without a label are 30 of 40 images"),
        ({"x_train": (x / 255 / 255).astype(np.float32)}, "train: no value is above 0.0039 of 1, almost black"),
        ({"x_train": x // 255, "x_test": x // 255}, "train: no value is above 1 of 255, almost black: multiply"),
    ):
        np.savez(tmp_path / "a.npz", **arrays(**changes))
        done = called(f"npz:{tmp_path / 'a.npz'}")
        assert (done.return_value, done.exception) == (0, None)
        assert sentence in done.stdout


def test_what_cannot_be_looked_at_leaves_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 no archive")
    for words, error, sentence in (
        ([f"npz:{tmp_path / 'none.npz'}"], DataError, "there is no file"),
        ([f"npz:{tmp_path / 'a.npz'}"], DataError, "not a complete .npz archive"),
        (["imagefolder:" + str(tmp_path / "none")], DataError, "there is no folder"),
        (["digit"], UsageError, "did you mean 'digits'"),
        (["npz"], UsageError, "path"),
        (["digits", "--set", "data.onyl=[1]"], UsageError, "did you mean 'only'"),
        (["digits", "--set", "stage.a.epochs=1"], UsageError, "only the data are looked at"),
        (["digits", "--split", "tests"], UsageError, "there is no split 'tests'"),
        (["npz:a.npz", "--data-dir", "b"], UsageError, "leave out --data-dir b"),
    ):
        done = called(*words)
        assert isinstance(done.exception, error), (words, done.exception)
        assert done.exception.exit_code == 2
        assert sentence in str(done.exception)
        assert "\n" not in str(done.exception)


def test_options_of_the_data_set_and_single_splits_are_taken(tmp_path: Path) -> None:
    seen = robustcl.check_data("digits", overrides=["data.only=[3, 5]", "data.validation=0"], splits=["test"])
    assert seen.classes == ("3", "5")
    assert list(seen.splits) == ["test"]
    done = called("digits", "--set", "data.validation=0", "--split", "train")
    assert "no validation part would be held out" in done.stdout
    np.savez(tmp_path / "a.npz", **arrays())
    assert called("npz", "--data-dir", str(tmp_path / "a.npz")).return_value == 0


def test_files_are_named_that_cannot_be_read_are_left_out_or_stand_twice(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "images", images=4)
    (root / "train/cat/8.png").write_bytes(b"")
    whole = (root / "train/dog/0.png").read_bytes()
    (root / "train/dog/9.png").write_bytes(whole[: len(whole) // 2])
    (root / "test/dog/copy.png").write_bytes((root / "train/cat/1.png").read_bytes())
    for name in ("a.gif", "b.gif", "._x.png"):
        (root / "train/cat" / name).write_bytes(b"x")
    (root / "train/.ipynb_checkpoints").mkdir()
    os.mkfifo(root / "train/dog/pipe.png")
    done = called(f"imagefolder:{root}", "--set", "data.size=8", "--json")
    assert done.return_value == 1
    told = json.loads(done.stdout)
    train, test = told["splits"]
    assert (train["images"], train["unreadable"], train["left_out"], test["images"]) == (10, 2, 5, 9)
    unreadable = told["details"]["train"]["unreadable"]
    assert [entry["image"] for entry in unreadable] == [str(root / "train/cat/8.png"), str(root / "train/dog/9.png")]
    assert "it is empty" in unreadable[0]["why"]
    left_out = told["details"]["train"]["left_out"]
    assert left_out[".gif"] == {"count": 2, "names": ["cat/a.gif", "cat/b.gif"]}
    assert left_out["hidden folders"]["names"] == [".ipynb_checkpoints"]
    assert left_out["pipes"]["names"] == ["dog/pipe.png"]
    assert told["shared"][0]["pairs"] == [[str(root / "train/cat/1.png"), str(root / "test/dog/copy.png")]]
    assert told["shared"][0]["label_conflicts"] == 1
    assert any("left out 2 .gif (cat/a.gif, cat/b.gif)" in remark for remark in told["remarks"])
    assert any("train: unreadable are 2 of 10 images, such as" in fault for fault in told["faults"])


def test_constants_of_a_data_set_that_its_images_do_not_have_are_said() -> None:
    from robustcl.inspection import findings
    from robustcl.inspection.splits import look
    from robustcl_plugins.datasets.digits import Digits

    train = look("train", Digits().open("train"), lambda *_: None)
    assert not list(findings.notable({"train": train}, (), {"train": _none()}, (), (train.mean, train.std)))
    said = list(findings.notable({"train": train}, (), {"train": _none()}, (), ((0.5,), (0.5,))))
    assert said[0].startswith("a model normalises by mean 0.500 and deviation 0.500")


def _none() -> Any:
    from robustcl.inspection.twins import Repeats

    return Repeats(0, (), 0, ())


def test_numbers_of_numpy_and_single_names_are_taken_and_nothing_to_tell_is_an_empty_table(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays())
    seen = robustcl.check_data(f"npz:{tmp_path / 'a.npz'}", seed=np.int64(3), splits="test")
    assert json.loads(json.dumps(seen.tables()))["splits"][0]["split"] == "test"
    assert seen.to_frame().index.tolist() == seen.to_frame()["split"].tolist() == ["test"]
    with pytest.raises(UsageError, match=r"seed = 1\.5: write a whole number"):
        robustcl.check_data("digits", seed=1.5)  # type: ignore[arg-type]
    nothing = robustcl.check_data(f"npz:{tmp_path}")
    assert nothing.faults
    assert (len(nothing.to_frame()), len(nothing.classes_to_frame())) == (0, 0)
