"""All splits that a run needs are opened and held against each other before its first step, and after a kill."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import robustcl
from robustcl.cli.main import robustcl as robustcl_command
from robustcl.errors import DataError, UsageError

N = 40
SET = ["data.batch=16", "stage.pretrain.batch=16", "evaluate.slf.batch=16", "run.checkpoint=1 steps"]
SET += ["encoder.use=resnet-small", "encoder.width=2", "evaluate.slf.epochs=1", "evaluate.slf.samples=8"]
SET += ["evaluate.slf.audit=0"]


def arrays(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (N, 8, 8), dtype=np.uint8)
    test = rng.integers(0, 256, (N, 8, 8), dtype=np.uint8)
    return {"x_train": x, "y_train": np.arange(N) % 4, "x_test": test, "y_test": np.arange(N) % 4, **changes}


def run(folder: Path, *more: str, said: list[str] | None = None, **changes: Any) -> Any:
    made = {name: value for name, value in arrays(**changes).items() if value is not None}
    np.savez(folder / "a.npz", **made)
    composed = robustcl.compose(
        recipe="simclr", dataset=f"npz:{folder / 'a.npz'}", budget="smoke", overrides=[*SET, *more]
    )
    return composed.train(folder / "run", device="cpu", report=False, say=(said if said is not None else []).append)


TRAIN = arrays()["x_train"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"x_test": None}, "no array 'x_test'"),
        ({"x_test": TRAIN[:, :, :7]}, "all splits must agree"),
        ({"x_test": TRAIN.astype(np.float32)}, r"x_test has values from 0 to 255"),
        ({"x_pretrain": TRAIN[:, :7]}, "all splits must agree"),
        ({"y_train": np.arange(N) % 4 + 1, "y_test": np.arange(N) % 4 + 1}, "the labels begin at 1 and classes count"),
        ({"y_test": np.arange(N) % 5}, "the test images have the class 4, of which there is no training image"),
        ({"y_train": np.arange(N), "y_test": np.arange(N)}, "leaves no labelled image to validate on"),
    ],
)
def test_a_fault_of_any_split_is_found_before_training(tmp_path: Path, changes: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        run(tmp_path, **changes)
    assert not (tmp_path / "run").exists()


def test_unlabelled_images_of_the_same_number_are_not_taken_for_the_training_images(tmp_path: Path) -> None:
    import torch

    from robustcl.run.splits import open_splits

    np.savez(tmp_path / "a.npz", **arrays(y_train=np.full(N, -1), x_pretrain=TRAIN[::-1]))
    composed = robustcl.compose(recipe="simclr", dataset=f"npz:{tmp_path / 'a.npz'}", budget="smoke")
    splits = open_splits(composed, torch.device("cpu"))
    assert set(splits.whole) == {"train", "pretrain"}
    assert torch.equal(splits.pretrain.fetch(torch.tensor([0]))[0, 0] * 255, torch.from_numpy(TRAIN[-1]).float())


def test_gaps_and_common_images_are_said_and_replaced_data_are_refused(tmp_path: Path) -> None:
    said: list[str] = []
    test = arrays()["x_test"]
    test[5] = TRAIN[3]
    labels = np.array([0, 1, 3, 0] * 10)
    run(tmp_path, said=said, x_test=test, y_train=labels, y_test=labels)
    assert any("no training image has the class 2" in line for line in said)
    assert any("1 of the 40 test images stand among the training images too, the first as image 5" in s for s in said)
    kept = json.loads((tmp_path / "run/data.json").read_text(encoding="utf-8"))
    assert set(kept["splits"]) == {"train", "test"}
    (tmp_path / "run/results.json").unlink()  # a run that lacks nothing opens no data
    robustcl.resume(tmp_path / "run")
    (tmp_path / "run/results.json").unlink()
    for split, changes in (
        ("train", {"x_train": np.where(np.arange(N)[:, None, None] == 7, 0, TRAIN).astype(np.uint8)}),
        ("train", {"y_train": labels[::-1]}),
        ("test", {"x_test": test[::-1]}),
    ):
        other = {"y_train": labels, "y_test": labels, "x_test": test, **changes}
        np.savez(tmp_path / "a.npz", **arrays(**other))
        with pytest.raises(DataError, match=rf"split {split} are not those with which the run began"):
            robustcl.resume(tmp_path / "run")


def test_what_judges_a_run_further_sees_that_its_data_were_replaced(tmp_path: Path) -> None:
    run(tmp_path, y_train=np.arange(N) % 4)
    np.savez(tmp_path / "a.npz", **arrays(x_test=arrays()["x_test"][::-1]))
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    for words in (
        ["evaluate", str(tmp_path / "run"), "--eps", "4/255", "--no-audit"],
        ["audit", str(tmp_path / "run")],
        ["measure", str(tmp_path / "run")],
        ["transfer", str(tmp_path / "run"), str(tmp_path / "other"), "--out", str(tmp_path / "transfer")],
    ):
        done = CliRunner().invoke(robustcl_command, words, standalone_mode=False)
        assert isinstance(done.exception, DataError), (words, done.exception)
        assert "split test are not those with which the run began" in str(done.exception)
