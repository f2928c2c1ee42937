"""Corrupted copies in their true layout, faults of the files, images corrupted when fetched, and the mean."""

from __future__ import annotations

import pickle
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from robustcl import corruption
from robustcl.data.arrays import ArraySource
from robustcl.data.corrupted import Generated, Stored, generate, maker
from robustcl.data.held import Held, keep
from robustcl.errors import DataError, UsageError
from robustcl.evaluate.classifier import of_model
from robustcl.evaluate.extras.convergence import measure_convergence
from robustcl.evaluate.extras.corruptions import measure_corruptions
from robustcl.evaluate.journal import Journal
from robustcl.evaluate.judge import Judge
from robustcl.evaluate.measure import Measurement
from robustcl.evaluate.work import Work
from robustcl.recipe import Corruptions
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl_plugins.datasets.cifar import Cifar10, Cifar100
from robustcl_plugins.generators.pgd import PGD
from tests.shared.asked import subject

N = 4
"""Images of a severity; the published files have 10,000."""


def write(root: Path, name: str = "fog", labels: np.ndarray | None = None) -> np.ndarray:
    """Write one corruption and the labels as CIFAR-10-C lays them out; returns the images (5 n, 32, 32, 3)."""
    folder = root / "CIFAR-10-C"
    folder.mkdir(exist_ok=True)
    images = np.random.default_rng(0).integers(0, 256, (5 * N, 32, 32, 3), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(5 * N)
    np.save(folder / f"{name}.npy", images)
    np.save(folder / "labels.npy", np.tile(np.array([3, 8, 0, 6], dtype=np.uint8), 5) if labels is None else labels)
    return images


def test_the_names_are_the_benchmarks() -> None:
    assert len(corruption.names()) == 15
    assert len(set(corruption.names(extra=True))) == 19
    assert corruption.names(extra=True)[:15] == corruption.names()
    assert "spatter" not in corruption.names()


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_a_severity_is_its_block_of_rows(tmp_path: Path, severity: int) -> None:
    written = write(tmp_path)
    images, labels = corruption.load(tmp_path, "CIFAR-10-C", "fog", severity)
    assert (images.dtype, images.shape, labels.dtype) == (torch.uint8, (N, 3, 32, 32), torch.int64)
    assert images[:, 0, 0, 0].tolist() == list(range((severity - 1) * N, severity * N))
    assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), written[(severity - 1) * N : severity * N])
    assert labels.tolist() == [3, 8, 0, 6]


def test_what_is_returned_is_no_window_on_the_file(tmp_path: Path) -> None:
    write(tmp_path)
    images, _ = corruption.load(tmp_path, "CIFAR-10-C", "fog", 1)
    images.zero_()
    assert int(corruption.load(tmp_path, "CIFAR-10-C", "fog", 1)[0].max()) > 0


def faulty(root: Path, fault: str) -> None:
    folder = root / "CIFAR-10-C"
    images, labels = np.load(folder / "fog.npy"), np.load(folder / "labels.npy")
    if fault == "missing images":
        (folder / "fog.npy").unlink()
    elif fault == "missing labels":
        (folder / "labels.npy").unlink()
    elif fault == "floats":
        np.save(folder / "fog.npy", images / 255)
    elif fault == "channels first":
        np.save(folder / "fog.npy", images.transpose(0, 3, 1, 2))
    elif fault == "flat":
        np.save(folder / "fog.npy", images.reshape(5 * N, -1))
    elif fault == "four severities and a bit":
        np.save(folder / "fog.npy", images[:-1])
    elif fault == "empty":
        np.save(folder / "fog.npy", images[:0])
    elif fault == "labels of one severity":
        np.save(folder / "labels.npy", labels[:N])
    elif fault == "labels in floats":
        np.save(folder / "labels.npy", labels.astype(np.float32))
    elif fault == "cut off":
        whole = (folder / "fog.npy").read_bytes()
        (folder / "fog.npy").write_bytes(whole[: len(whole) // 2])
    elif fault == "no array":
        (folder / "fog.npy").write_bytes(b"<html>404</html>")
    elif fault == "nothing":
        (folder / "fog.npy").write_bytes(b"")
    elif fault == "a pickle":
        (folder / "fog.npy").write_bytes(pickle.dumps(images))
    elif fault == "objects":
        np.save(folder / "fog.npy", np.array([{}] * 5), allow_pickle=True)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("missing images", r"there is no file .*fog\.npy: unpack"),
        ("missing labels", r"there is no file .*labels\.npy: unpack"),
        ("floats", r"fog\.npy is float64 of shape \(20, 32, 32, 3\): it must be uint8"),
        ("channels first", r"fog\.npy is uint8 of shape \(20, 3, 32, 32\): it must be uint8 images \(5 n, H, W, C\)"),
        ("flat", r"fog\.npy is uint8 of shape \(20, 3072\)"),
        ("four severities and a bit", r"fog\.npy holds 19 images, which are not five times"),
        ("empty", r"fog\.npy holds 0 images, which are not five times"),
        ("labels of one severity", r"labels\.npy is uint8 of shape \(4,\): it must be one integer for each of the 20"),
        ("labels in floats", r"labels\.npy is float32 of shape \(20,\)"),
        ("cut off", r"fog\.npy cannot be read .*: it is truncated or no \.npy file"),
        ("no array", r"fog\.npy cannot be read"),
        ("nothing", r"fog\.npy cannot be read"),
        ("a pickle", r"fog\.npy cannot be read"),
        ("objects", r"fog\.npy cannot be read"),
    ],
)
def test_a_fault_of_the_files_is_one_sentence(tmp_path: Path, fault: str, said: str) -> None:
    write(tmp_path)
    faulty(tmp_path, fault)
    with pytest.raises(DataError, match=said) as caught:
        corruption.load(tmp_path, "CIFAR-10-C", "fog", 2)
    assert "\n" not in str(caught.value)


def test_unknown_corruptions_and_severities_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no corruption 'fogg', did you mean 'fog'"):
        corruption.load(tmp_path, "CIFAR-10-C", "fogg", 1)
    for severity in (0, 6):
        with pytest.raises(UsageError, match=f"fog has the severities 1 to 5, not {severity}"):
            corruption.load(tmp_path, "CIFAR-10-C", "fog", severity)


# --- copies beside the test set that they are copies of


def split(labels: list[int], side: int = 32) -> Held:
    images = Rng(0, "split").integers(256, (len(labels), 3, side, side)).to(torch.uint8)
    return Held(ArraySource(images, torch.tensor(labels)))


def test_stored_copies_are_judged_like_any_split(tmp_path: Path) -> None:
    write(tmp_path)
    images, labels = corruption.load(tmp_path, Cifar10.corrupted, "fog", 5)
    held = keep(Stored(images, labels, split([3, 8, 0, 6]), "CIFAR-10-C/fog"))
    assert held.samples == N
    assert torch.equal(held.fetch(torch.tensor([2])), images[2:3].float() / 255)
    assert Cifar100.corrupted == "CIFAR-100-C"


@pytest.mark.parametrize(
    ("test", "said"),
    [
        (lambda: split([3, 8, 1, 6]), r"CIFAR-10-C/fog: image 2 has the label 0, and 1 in the test set"),
        (lambda: split([3, 8, 0, 6, 1]), r"holds 4 images \(3, 32, 32\) a severity, and the test set 5"),
        (lambda: split([3, 8, 0, 6], 16), r"and the test set 4 images \(3, 16, 16\)"),
    ],
)
def test_copies_of_another_test_set_are_refused(tmp_path: Path, test: object, said: str) -> None:
    write(tmp_path)
    images, labels = corruption.load(tmp_path, "CIFAR-10-C", "fog", 1)
    with pytest.raises(DataError, match=said):
        Stored(images, labels, test(), "CIFAR-10-C/fog")  # type: ignore[operator]


# --- corrupted here


def test_images_corrupted_when_fetched_are_the_same_whenever_that_is() -> None:
    images = split(list(range(10)))
    rng = Rng(0, "evaluate")
    view = maker("gaussian_noise", 3)
    found = Generated(images, view, rng)
    whole = found.fetch(torch.arange(10))
    assert torch.equal(whole, generate(images.images, "gaussian_noise", 3, rng))
    assert torch.equal(found.fetch(torch.tensor([7, 2])), whole[[7, 2]])
    (index, batch), (_, rest) = found.batches([torch.tensor([4, 5]), torch.tensor([9])])
    assert (index.tolist(), len(rest)) == ([4, 5], 1)
    assert torch.equal(batch, whole[4:6])
    assert (found.samples, found.item, found.labels.tolist()) == (10, (3, 32, 32), list(range(10)))
    assert 0.05 < float((whole - images.fetch(torch.arange(10))).std()) < 0.1


def test_what_nothing_makes_is_refused() -> None:
    images = torch.zeros(1, 3, 8, 8)
    with pytest.raises(UsageError, match=r"the view 'corruption' does not make 'frost' so: .* give their folder"):
        generate(images, "frost", 1, Rng(0))
    with pytest.raises(UsageError, match="no corruption 'noise'"):
        generate(images, "noise", 1, Rng(0))


def test_the_mean_is_over_corruptions_of_the_mean_over_severities() -> None:
    found = {"fog": [0.9, 0.8, 0.7, 0.6, 0.5], "snow": [0.5, 0.5, 0.5, 0.5, 0.0]}
    assert corruption.mean_accuracy(found) == pytest.approx((0.7 + 0.4) / 2)
    with pytest.raises(UsageError, match="snow was judged at 4 severities"):
        corruption.mean_accuracy({"fog": found["fog"], "snow": [0.5] * 4})
    with pytest.raises(UsageError, match="at least one"):
        corruption.mean_accuracy({})


def test_what_the_time_did_not_reach_is_left_out_and_never_zero(tmp_path: Path) -> None:
    said: list[str] = []
    work = Work(deadline=time.monotonic() - 1)
    asked = {"corruptions": Corruptions(names=["fog", "contrast"], severities=[1]), "convergence": [1, 2]}
    measurement = Measurement(Journal(tmp_path / "j"), 0, work, said.append)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)).eval()
    judge: Any = Judge(of_model(net), Ball("Linf", 0.1), Rng(0), nullcontext)
    images: Any = SimpleNamespace(
        samples=4, labels=torch.zeros(4, dtype=torch.int64), device=torch.device("cpu"), item=(3, 32, 32),
        fetch=lambda index: torch.rand(len(index), 3, 32, 32),
    )  # fmt: skip
    of = subject(judge, images, [("pgd", PGD())], dataset=SimpleNamespace(), **asked)
    assert measure_corruptions(of, measurement) == measure_convergence(of, measurement) == []
    assert "the time was up before fog, contrast" in said[0]
    assert "convergence: the time was up before any sample was judged" in said[1]


def test_errors_in_those_of_a_baseline_by_hand() -> None:
    mine = {"fog": [0.9, 0.7], "snow": [0.5, 0.25]}
    theirs = {"fog": [0.8, 0.4], "snow": [0.5, 0.5], "frost": [0.0, 0.0]}
    total = 0.0
    for name, accuracies in mine.items():
        errors, baseline = 0.0, 0.0
        for place, accuracy in enumerate(accuracies):
            errors += 1 - accuracy
            baseline += 1 - theirs[name][place]
        total += errors / baseline
    assert corruption.mean_corruption_error(mine, theirs) == pytest.approx(total / 2)
    assert corruption.mean_corruption_error(mine, mine) == 1.0
    assert corruption.corruption_error("fog", mine["fog"], theirs["fog"]) == pytest.approx(0.4 / 0.8)


@pytest.mark.parametrize(
    ("found", "baseline", "said"),
    [
        ({}, {"fog": [0.5]}, "no corruption was judged"),
        ({"fog": [0.5]}, {"snow": [0.5]}, "fog was judged at 1 severities, and of the baseline at 0: judge both alike"),
        ({"fog": [0.5]}, {"fog": [0.5, 0.4]}, "fog was judged at 1 severities, and of the baseline at 2"),
        ({"fog": [0.5]}, {"fog": [1.0]}, "the baseline errs nowhere on fog"),
    ],
)
def test_baselines_that_cannot_be(found: Any, baseline: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        corruption.mean_corruption_error(found, baseline)
