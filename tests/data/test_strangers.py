"""Data sets by strangers' plugins that fail, return nonsense or lie: one sentence, before anything is trained."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from robustcl import api, registry
from robustcl.cli.main import robustcl
from robustcl.errors import DataError, RobustclError
from robustcl.protocols import Need

N = 24


class Source:
    """24 images in three classes; what a test gives stands instead."""

    def __init__(self, **instead: Any) -> None:
        self.item: Any = (1, 8, 8)
        self.labels: Any = torch.arange(N) % 3
        self.pixels = torch.rand(N, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        for name, value in instead.items():
            setattr(self, name, value)

    def fetch(self, index: Tensor) -> Tensor:
        return self.pixels[index]


class Stranger:
    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "A stranger, images of nothing, 2026"
    encoder: ClassVar[str] = "resnet-small"

    def open(self, split: str) -> Any:
        return Source()

    def classes(self) -> Any:
        return ("a", "b", "c")

    def statistics(self) -> Any:
        return (0.5,), (0.25,)


def fails(error: BaseException) -> Callable[..., Any]:
    def failing(*given: object) -> Any:
        raise error

    return failing


def opens(**instead: Any) -> type:
    """Return a data set whose sources have something else."""
    return type("Stranger", (Stranger,), {"open": lambda self, split: Source(**instead)})


def says(**instead: Callable[..., Any]) -> type:
    """Return a data set that answers otherwise."""
    return type("Stranger", (Stranger,), instead)


def only(split: str, **instead: Any) -> type:
    """Return a data set of which one split has something else."""
    return says(open=lambda self, asked: Source(**(instead if asked == split else {})))


def late(index: Tensor) -> Tensor:
    if bool((index == 23).any()):
        raise KeyError("image 23")
    return torch.zeros(len(index), 1, 8, 8)


OPENED = "fails to open the split 'train', "
LABELS = "must give its labels as a tensor .* of int64, -1 for none, not "
ITEM = "must say the shape of one image, .* not "
LIES: dict[str, tuple[type, str]] = {
    "open OSError": (says(open=fails(FileNotFoundError(2, "No such file", "/x/y.bin"))), OPENED + ".*y.bin"),
    "open KeyError": (says(open=fails(KeyError("train"))), OPENED + "KeyError: 'train'"),
    "open ValueError": (says(open=fails(ValueError())), OPENED + "ValueError"),
    "open exits": (says(open=fails(SystemExit(0))), OPENED + "SystemExit: 0"),
    "open None": (says(open=lambda self, split: None), "returned None for the split 'train'"),
    "open a dict": (says(open=lambda self, split: {"x": 1}), "a dict without item, labels, fetch"),
    "open wants more": (says(open=lambda self: Source()), OPENED + "TypeError"),
    "labels NumPy": (opens(labels=np.arange(N) % 3), LABELS + "a ndarray"),
    "labels None": (opens(labels=None), LABELS + "a NoneType"),
    "labels of floats": (opens(labels=torch.zeros(N)), LABELS + r"torch.float32 \(24,\)"),
    "labels of 32 bits": (opens(labels=torch.zeros(N, dtype=torch.int32)), LABELS + "torch.int32"),
    "labels in a column": (opens(labels=torch.zeros(N, 1, dtype=torch.int64)), LABELS + r"torch.int64 \(24, 1\)"),
    "no labels": (opens(labels=torch.zeros(0, dtype=torch.int64)), "holds no image"),
    "labels beyond classes": (opens(labels=torch.arange(N)), "has the label 3, and the data set names 3 classes"),
    "labels below -1": (only("train", labels=torch.arange(N) % 3 - 2), "has the label -2"),
    "item None": (opens(item=None), ITEM + "None"),
    "item a number": (opens(item=64), ITEM + "64"),
    "item of floats": (opens(item=(1.0, 8, 8)), ITEM),
    "item of nothing": (opens(item=(1, 0, 8)), ITEM),
    "item lies": (opens(item=(3, 8, 8)), r"gave images of shape \(1, 8, 8\) where it promised \(3, 8, 8\)"),
    "remarks a text": (opens(remarks="all is well"), "remarks must be several sentences"),
    "left out a list": (opens(left_out=["a.gif"]), "left_out must hold a count and names"),
    "fetch IndexError": (opens(fetch=fails(IndexError("24"))), "fails to give .*IndexError: 24"),
    "fetch OSError": (opens(fetch=fails(OSError(5, "Input/output error"))), "fails to give .*Input/output error"),
    "fetch fails late": (opens(fetch=late), "fails to give .*KeyError: 'image 23'"),
    "fetch None": (opens(fetch=lambda index: None), "gave a NoneType where a tensor"),
    "fetch NumPy": (opens(fetch=lambda index: np.zeros((len(index), 1, 8, 8))), "gave a ndarray"),
    "fetch too few": (opens(fetch=lambda index: torch.zeros(1, 1, 8, 8)), "gave 1 images where it was asked for"),
    "fetch integers": (opens(fetch=lambda index: torch.zeros(len(index), 1, 8, 8, dtype=torch.int64)), "torch.int64"),
    "fetch to 255": (opens(fetch=lambda index: torch.full((len(index), 1, 8, 8), 255.0)), "values from 255 to 255"),
    "fetch NaN": (opens(fetch=lambda index: torch.full((len(index), 1, 8, 8), torch.nan)), "values from nan to nan"),
    "test of another shape": (
        only("test", item=(1, 9, 9), pixels=torch.zeros(N, 1, 9, 9)), r"images of test have the shape \(1, 9, 9\)"
    ),
    "only test fails": (
        says(open=lambda self, split: fails(KeyError("y_test"))() if split == "test" else Source()),
        "fails to open the split 'test', KeyError: 'y_test'",
    ),
    "classes fail": (says(classes=fails(KeyError("names"))), "fails to name its classes, KeyError: 'names'"),
    "classes None": (says(classes=lambda self: None), r"classes\(\) returned None"),
    "classes a text": (says(classes=lambda self: "cat"), r"classes\(\) returned 'cat'"),
    "classes of numbers": (says(classes=lambda self: (0, 1, 2)), r"classes\(\) returned \(0, 1, 2\)"),
    "classes twice": (says(classes=lambda self: ("a", "b", "a")), "names the class 'a' twice"),
    "statistics fail": (says(statistics=fails(OSError("gone"))), "to tell its mean and deviation, OSError: gone"),
    "statistics a number": (says(statistics=lambda self: 0.5), r"statistics\(\) returned 0.5"),
    "statistics of 0": (says(statistics=lambda self: ((0.5,), (0.0,))), r"returned \(\(0.5,\), \(0.0,\)\)"),
    "statistics of NaN": (says(statistics=lambda self: ((float("nan"),), (0.5,))), r"statistics\(\) returned"),
    "statistics of three": (says(statistics=lambda self: ((0.5,) * 3, (0.5,) * 3)), "there are 1, and statistics"),
    "made of nothing": (says(__init__=fails(OSError("no index"))), "Stranger cannot be made, OSError: no index"),
    "refuses": (says(__init__=fails(ValueError("no index"))), "refuses these options: no index"),
}  # fmt: skip


def recipe() -> dict[str, Any]:
    return {
        "name": "tiny", "seed": 0, "data": {"use": "stranger", "batch": 8}, "threat": {"eps": "32/255"},
        "encoder": {"use": "resnet-small", "width": 2},
        "stage": [{
            "name": "only", "epochs": 1, "split": "train", "views": {"w": "none"},
            "term": {"ce": {"use": "cross-entropy", "views": ["w"]}}, "optimizer": {"use": "adam", "lr": 0.01},
        }],
        "evaluate": [{"use": "own", "attacks": [], "samples": 6, "audit": 0}],
    }  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_check_says_it_in_a_sentence(lie: str) -> None:
    cls, said = LIES[lie]
    with registry.local("dataset", "stranger", cls):
        done = CliRunner().invoke(robustcl, ["data", "check", "stranger"], standalone_mode=False)
    if done.exception is not None:
        assert isinstance(done.exception, RobustclError), repr(done.exception)
        assert done.exception.exit_code == 2
    else:
        assert done.return_value == 1
    told = " ".join(f"{done.output} {done.exception or ''}".split())
    assert re.search(said, told), told


@pytest.mark.parametrize("lie", LIES)
def test_training_stops_at_it_before_there_is_a_run(lie: str, tmp_path: Path) -> None:
    cls, said = LIES[lie]
    with registry.local("dataset", "stranger", cls), pytest.raises(RobustclError, match=said) as caught:
        api.from_tables(recipe(), "the test").train(tmp_path / "run", device="cpu", report=False)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run").exists()


def test_an_honest_one_is_checked_and_trained(tmp_path: Path) -> None:
    """NumPy numbers, lists and views of odd strides are no lies."""
    strided = torch.rand(N, 8, 8, 1, generator=torch.Generator().manual_seed(0)).movedim(3, 1)
    honest = says(
        open=lambda self, split: Source(item=[np.int64(1), 8, 8], pixels=strided, remarks=["half of it is noise"]),
        classes=lambda self: ["a", "b", np.str_("c")],
        statistics=lambda self: (np.array([0.5], np.float32), [np.float64(0.25)]),
    )
    with registry.local("dataset", "stranger", honest):
        done = CliRunner().invoke(robustcl, ["data", "check", "stranger"], standalone_mode=False)
        assert done.exception is None, repr(done.exception)
        assert done.return_value == 0, done.output
        assert "half of it is noise" in done.output
        run = api.from_tables(recipe(), "the test").train(tmp_path / "run", device="cpu", report=False)
    assert len(run.results.tables["rows"]) == 2


MODEL = """
import torch
def build():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)).eval()
"""


@pytest.mark.parametrize(
    "command", [("evaluate", "--attack", "fgsm", "--no-audit", "--out", "judged"), ("audit", "--samples", "4")]
)
@pytest.mark.parametrize("lie", ["open KeyError", "fetch None", "classes a text", "labels NumPy"])
def test_a_model_is_not_judged_on_it(
    command: tuple[str, ...], lie: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flat.py").write_text(MODEL, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    cls, said = LIES[lie]
    words = [*command, "--model", "flat:build", "--dataset", "stranger", "--device", "cpu"]
    with registry.local("dataset", "stranger", cls):
        done = CliRunner().invoke(robustcl, words, standalone_mode=False)
    assert isinstance(done.exception, DataError), repr(done.exception)
    assert re.search(said.replace("split 'train'", "split 'test'"), str(done.exception)), done.exception


def test_what_decodes_in_processes_says_the_same() -> None:
    """A worker's error crosses as its sentence, whatever its class."""
    from robustcl.data.streamed import decode

    class Odd(Exception):
        def __init__(self, one: int, two: int) -> None:  # it cannot be pickled back
            super().__init__("odd")

    source = Source(fetch=fails(Odd(1, 2)), decodes=True)
    with pytest.raises(DataError, match="fails to give 4 images from 0 to 3, Odd: odd: mend"):
        list(decode(source, [torch.arange(4)]))


def test_a_look_and_an_identity_that_fail_are_told() -> None:
    from robustcl.data import digest
    from robustcl.data.streamed import Streamed
    from robustcl.run.splits import keep_looked_through

    with pytest.raises(DataError, match="fails to look through its images, KeyError: 'x'"):
        keep_looked_through(Source(on_disk=True, check=fails(KeyError("x"))), torch.device("cpu"))
    streamed = Streamed(Source(identity=fails(OSError("gone"))), workers=0)
    with pytest.raises(DataError, match=r"tells its images from others \(identity\), OSError: gone"):
        digest.of_split(streamed, None)
    with pytest.raises(DataError, match=r"identity.*AttributeError"):
        digest.of_split(Streamed(Source(identity=lambda: 7), workers=0), None)
