"""Models of the zoo through the commands: evaluate, audit, benchmark, and as the encoder of a training recipe."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn

from robustcl import api, registry
from robustcl.cli.main import robustcl
from robustcl.errors import RobustclError
from robustcl.protocols import Need
from robustcl.robustbench import benchmark
from tests.shared import strangers

pytestmark = pytest.mark.filterwarnings(
    "ignore:None of the inputs have requires_grad",
    "ignore:.*autograd kernel",
    "ignore:the model's outputs lie between",
    "ignore:.*attacked samples",
)

HERE = Path(__file__).parents[2]

JUDGED = (
    "views", "traced", "frozen-script", "half", "double", "model-output", "vit", "old-weight-norm", "checkpointed",
    "data-parallel", "squeezes", "needs-two", "fixed-batch", "complex", "exported", "inference-built", "root",
)  # fmt: skip
REFUSED = {
    "writes-into-input": "writes into its input",
    "tuple": r"returns out\[0\]",
    "softmax": "probabilities",
    "one-logit": "two columns",
    "counts-in-buffer": "buffer calls",
    "random": "draws at random",
    "own-generator": "draws at random",
    "nan-logits": "not finite",
    "lazy": "lazy layers have no weights",
    "on-meta": "cannot be moved",
    "batch-statistics": "rows of a batch change each other",
    "keyword-only": "TypeError",
    "numpy": "square or rays",
    "no-grad": "square or rays",
    "quantised": "square or rays",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in three classes, and a module that hands out the strangers."""
    place = tmp_path_factory.mktemp("zoo")
    draw = np.random.default_rng(0)
    images = {f"x_{split}": draw.random((12, 8, 8, 3), dtype=np.float32) for split in ("train", "test")}
    labels = {f"y_{split}": np.arange(12) % 3 for split in ("train", "test")}
    np.savez(place / "images.npz", **images, **labels)
    return place


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def asked(command: str, name: str, *more: str) -> Result:
    spec = f"tests.shared.strangers:model_{name.replace('-', '_')}"
    words = [command, "--model", spec, "--dataset", "npz:images.npz", "--device", "cpu", *more]
    return CliRunner().invoke(robustcl, words, standalone_mode=False)


@pytest.mark.parametrize("name", JUDGED)
def test_a_model_is_evaluated_as_the_plain_one(name: str, here: Path) -> None:
    done = asked("evaluate", name, "--attack", "fgsm", "--no-audit", "--out", f"judged-{name}")
    assert done.exception is None, done.exception
    rows = json.loads((here / f"judged-{name}" / "results.json").read_text())["rows"]
    data = np.load("images.npz")
    x = torch.from_numpy(data["x_test"]).permute(0, 3, 1, 2).contiguous()
    net = strangers.model(name)
    kinds = {p.dtype for p in net.parameters() if p.is_floating_point()}
    with torch.no_grad():
        out = [net(part.to(kinds.copy().pop()) if len(kinds) == 1 else part) for part in x.split(6)]
    right = torch.cat([getattr(part, "logits", part) for part in out]).argmax(1) == torch.from_numpy(data["y_test"])
    assert rows[0]["value"] == float(right.double().mean())
    assert rows[1]["value"] <= rows[0]["value"]


@pytest.mark.parametrize("name", REFUSED)
def test_a_command_refuses_a_model_in_one_sentence(name: str, here: Path) -> None:
    done = asked("evaluate", name, "--attack", "fgsm", "--no-audit", "--out", f"refused-{name}")
    assert isinstance(done.exception, RobustclError), done.exception
    assert done.exception.exit_code == 2
    with pytest.raises(RobustclError, match=REFUSED[name]):
        raise done.exception


@pytest.mark.parametrize(
    "name", ["views", "inference-built", "numpy", "counts-in-buffer", "batch-statistics", "exported"]
)
def test_an_audit_ends_with_findings(name: str, here: Path) -> None:
    done = asked("audit", name, "--samples", "3")
    assert done.exception is None, done.exception
    assert done.return_value == (3 if name in ("numpy", "counts-in-buffer", "inference-built") else 0)


@pytest.mark.parametrize("name", ["views", "frozen-script", "squeezes", "double"])
def test_a_benchmark_takes_it(name: str, here: Path) -> None:
    clean, robust = benchmark(strangers.model(name), 3, "npz:images.npz", eps=0.3)
    assert clean >= robust


def test_as_a_process(here: Path) -> None:
    """The exit code and the one line on the terminal."""
    words = ["evaluate", "--model", "strangers:model_tuple", "--dataset", "npz:images.npz", "--device", "cpu"]
    found = "from tests.shared.strangers import __getattr__ as __getattr__"
    (here / "strangers.py").write_text(f"import sys\n\nsys.path.insert(0, {str(HERE)!r})\n{found}\n")
    words += ["--out", "refused-as-a-process"]
    done = subprocess.run([sys.executable, "-m", "robustcl", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "returns out[0]" in done.stderr


def encoder(name: str) -> type:
    class Stranger:
        needs: ClassVar[frozenset[Need]] = frozenset()
        citation: ClassVar[str] = "A stranger, a network of the zoo, 2026"

        def backbone(self, item: tuple[int, ...]) -> tuple[nn.Module, int]:
            return strangers.model(name), strangers.CLASSES

    return Stranger


def recipe() -> dict[str, Any]:
    return {
        "name": "tiny", "seed": 0, "data": {"use": "npz:images.npz", "batch": 8}, "threat": {"eps": "32/255"},
        "encoder": {"use": "stranger"},
        "stage": [{
            "name": "robust", "epochs": 1, "split": "train", "views": {"w": "none"},
            "generator": {"w_adv": {"use": "fgsm", "reads": ["w"]}},
            "term": {"ce": {"use": "cross-entropy", "views": ["w_adv"]}}, "optimizer": {"use": "adam", "lr": 0.01},
        }],
        "evaluate": [{"use": "own", "attacks": [{"use": "fgsm"}], "samples": 6, "audit": 0}],
    }  # fmt: skip


@pytest.fixture
def stranger(request: pytest.FixtureRequest) -> Iterator[str]:
    with registry.local("encoder", "stranger", encoder(request.param)):
        yield request.param


def rows(run: Any) -> list[float]:
    return [row["value"] for row in run.results.tables["rows"]]


@pytest.mark.parametrize(
    "stranger", ["checkpointed", "squeezes", "needs-two", "complex", "autocast", "old-weight-norm"], indirect=True
)
def test_a_strangers_encoder_is_trained_and_judged(stranger: str, here: Path) -> None:
    assert (
        len(rows(api.from_tables(recipe(), "the test").train(here / f"run-{stranger}", device="cpu", report=False)))
        == 4
    )


def test_an_encoder_that_views_trains_as_one_that_flattens(here: Path) -> None:
    found = {}
    for name in ("plain", "views"):
        with registry.local("encoder", "stranger", encoder(name)):
            run = api.from_tables(recipe(), "the test").train(here / f"same-{name}", device="cpu", report=False)
            found[name] = rows(run)
            measured = CliRunner().invoke(robustcl, ["measure", str(run.path), "--samples", "6"], standalone_mode=False)
            assert measured.exception is None, measured.exception
    assert found["plain"] == found["views"]
    with registry.local("encoder", "stranger", encoder("views")):
        words = ["transfer", str(here / "same-views"), str(here / "same-plain"), "--device", "cpu", "--out", "matrix"]
        done = CliRunner().invoke(robustcl, words, standalone_mode=False)
        assert done.exception is None, done.exception


@pytest.mark.parametrize(
    ("stranger", "said"),
    [
        ("tuple", "must return features .* a tuple"),
        ("integers", "must return features .* torch.int64"),
        ("counts-in-buffer", "does not hold still in eval mode, the buffer backbone.calls"),
        ("random", "does not hold still in eval mode, the global random generator"),
        ("inference-built", "torch.inference_mode"),
        ("lazy", "lazy"),
        ("on-meta", "meta device"),
        ("exported", "exported program"),
        ("batch-statistics", "batch of 1.*because fooled samples leave"),
        ("keyword-only", "TypeError"),
        ("detached", "square or rays"),
    ],
    indirect=["stranger"],
)
def test_a_strangers_encoder_is_refused_in_one_sentence(stranger: str, said: str, here: Path) -> None:
    with pytest.raises(RobustclError, match=said):
        api.from_tables(recipe(), "the test").train(here / f"refused-run-{stranger}", device="cpu", report=False)
