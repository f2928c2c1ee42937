"""load_model and benchmark in RobustBench's shapes: what is found, what is refused, and what the numbers are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustcl import api, registry
from robustcl.errors import DataError, UsageError, WeightsError
from robustcl.nn import weights
from robustcl.nn.encoder import Encoder, build_encoder
from robustcl.nn.projector import Projector
from robustcl.rng import Rng
from robustcl.robustbench import benchmark, load_model
from robustcl_plugins.encoders.resnet_small import ResNetSmall


def encoder(classes: int = 10, routes: tuple[str, ...] = ("main",)) -> Encoder:
    return build_encoder(
        ResNetSmall(width=2), name="resnet-small", item=(1, 8, 8), classes=classes, projector=Projector(widths=(8,)),
        mean=(0.3,), std=(0.4,), routes=routes, rng=Rng(0, "test"),
    ).eval()  # fmt: skip


@pytest.fixture
def models(tmp_path: Path) -> Path:
    weights.save(encoder(), tmp_path / "cifar10" / "Linf" / "mine")
    return tmp_path


def test_a_saved_encoder_is_found_where_robustbench_would_look(models):
    model = load_model("mine", models)
    x = torch.rand(3, 1, 8, 8)
    assert not any(module.training for module in model.modules())
    torch.testing.assert_close(model(x), encoder()(x, "main", frozenset({"logits"})).logits)
    for custom in (models / "cifar10" / "Linf" / "mine", models / "cifar10" / "Linf" / "mine" / "model.safetensors"):
        torch.testing.assert_close(load_model("any", custom_checkpoint=custom)(x), model(x))


def test_several_routes_ask_for_a_choice(tmp_path):
    weights.save(encoder(routes=("clean", "adv")), tmp_path / "digits" / "L2" / "two")
    with pytest.raises(UsageError, match="batch-norm routes clean, adv: choose one"):
        load_model("two", tmp_path, "digits", "L2")
    assert load_model("two", tmp_path, "digits", "L2", route="adv").route == "adv"


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"model_name": "min"}, UsageError, r"no model 'min' in .*, did you mean 'mine'\?: nothing is downloaded"),
        ({"model_name": "mine", "dataset": "cifar100"}, UsageError, "there is no model at all: nothing is downloaded"),
        ({"model_name": "../mine"}, UsageError, r"model_name = '../mine' is no plain name"),
        ({"model_name": "mine", "norm": "Linf"}, UsageError, "the former name of threat_model"),
        ({"model_name": "old"}, WeightsError, r"old.pt is a PyTorch pickle, .* refused: give a folder"),
        ({"model_name": "x", "custom_checkpoint": "no/where"}, WeightsError, "'no/where': there is no such folder"),
    ],
)
def test_what_cannot_be_loaded_is_a_sentence(models, arguments, error, said):
    (models / "cifar10" / "Linf" / "old.pt").write_bytes(b"\x80\x02")
    with pytest.raises(error, match=said):
        load_model(**{"model_dir": models, **arguments})


def test_an_encoder_without_a_classifier_is_refused(tmp_path):
    weights.save(encoder(classes=0), tmp_path / "cifar10" / "Linf" / "bare")
    with pytest.raises(UsageError, match="no classifier: judge it by a protocol first"):
        load_model("bare", tmp_path)


def test_a_run_gives_the_classifier_that_its_protocol_trained(tmp_path):
    tables: dict[str, Any] = {
        "name": "tiny",
        "data": {"use": "digits", "batch": 256},
        "encoder": {"use": "resnet-small", "width": 2, "projector": {"widths": [8, 4]}},
        "stage": [{
            "name": "pretrain", "epochs": 0, "views": {"a": "weak", "b": "weak"},
            "routes": {"a": "clean", "b": "adv"}, "objective": {"use": "info-nce"}, "optimizer": {"use": "sgd"},
        }],
        "evaluate": [
            {"protocol": "slf", "epochs": 1, "route": ["clean", "adv"], "attacks": ["fgsm"], "samples": 4, "curve": []}
        ],
    }  # fmt: skip
    folder = tmp_path / "digits" / "Linf" / "run"
    api.from_tables(tables, "test").train(folder, device="cpu", report=False)
    with pytest.raises(UsageError, match="the classifiers of slf on route clean, slf on route adv: choose one"):
        load_model("run", tmp_path, "digits")
    with pytest.raises(UsageError, match="no finished classifier on route 'main'"):
        load_model("run", tmp_path, "digits", route="main")
    model, x = load_model("run", tmp_path, "digits", route="adv"), torch.rand(2, 1, 8, 8)
    direct = load_model("x", custom_checkpoint=folder / "stages" / "evaluate-slf-adv-pretrain", route="adv")
    assert torch.equal(model(x), direct(x))


class Fitted(nn.Module):
    """The least-squares classifier of some digits: all of these are right, and a large ball fools each of them."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        super().__init__()
        flat = torch.cat([images.flatten(1), torch.ones(len(images), 1)], 1).double()
        targets = nn.functional.one_hot(labels, 10).double()
        self.weight = nn.Parameter((torch.linalg.pinv(flat) @ targets).float(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.flatten(1), torch.ones(len(x), 1)], 1) @ self.weight


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    source = registry.get("dataset", "digits")().open("test")
    raw = source.fetch(torch.arange(40))
    return (raw.float() / 255 if raw.dtype == torch.uint8 else raw), source.labels[:40]


def test_benchmark_measures_the_first_test_images_and_resumes(digits, tmp_path):
    images, labels = digits
    model, path = Fitted(images[:20], labels[:20]).eval(), tmp_path / "state.jsonl"
    right = float((model(images).argmax(1) == labels).float().mean())
    arguments: dict[str, Any] = {"dataset": "digits", "eps": "128/255", "batch_size": 15, "aa_state_path": path}
    clean, robust = benchmark(model, n_examples=40, **arguments)
    assert (clean, robust) == (pytest.approx(right), 0.0)
    assert 0.2 < right < 1.0, "the case must show both"
    lines = path.read_text()
    assert benchmark(model, n_examples=40, **arguments) == (clean, robust)
    assert path.read_text() == lines
    assert benchmark(model, n_examples=20, dataset="digits", eps=0.5)[0] == 1.0


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({}, UsageError, "eps is missing: give the radius of the Linf ball"),
        ({"eps": 8}, UsageError, "wider than the pixels' range"),
        ({"eps": 0.1, "n_examples": 10000}, DataError, "digits has 360 test images"),
        ({"threat_model": "corruptions"}, UsageError, "'corruptions' is no norm"),
        ({"threat_model": "L7", "eps": 0.1}, UsageError, "the norm 'L7' is not known"),
        ({"eps": 0.1, "to_disk": True}, UsageError, "to_disk = True is not written here"),
        ({"eps": 0.1, "model_name": "x"}, UsageError, "model_name = 'x' names a file that is not written"),
        ({"eps": 0.1, "log_path": "log"}, UsageError, "log_path = 'log' is not written"),
        ({"eps": 0.1, "preprocessing": "Crop288"}, UsageError, "put it inside the model"),
        ({"eps": 0.1, "corruptions_data_dir": "x"}, UsageError, "is for corruptions"),
        ({"eps": 0.1, "data_dir": "elsewhere"}, UsageError, "the data set digits reads no files"),
        ({"eps": 0.1, "device": "cuda"}, UsageError, "device = 'cuda', but the model is on cpu"),
        ({"eps": 0.1, "dataset": "cifar10", "data_dir": "no/where"}, DataError, "CIFAR-10 is not in no/where"),
    ],
)
def test_benchmark_refuses_what_it_would_ignore(digits, arguments, error, said):
    with pytest.raises(error, match=said):
        benchmark(Fitted(*digits).eval(), **{"n_examples": 4, "dataset": "digits", **arguments})
