"""Rows of studies that are models of others: what they may be asked, and numbers that a linear model gives by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import tomli_w
import torch
from click.testing import CliRunner
from torch import Tensor

from robustcl.analysis.bare import ModelQuestion, judge_model
from robustcl.analysis.measure import kept
from robustcl.cli.study import command
from robustcl.errors import DataError, NeedNotMet, UsageError
from robustcl.recipe import Use
from robustcl.study import api
from robustcl.study.numbers import models
from robustcl.study.plan.setting import ModelSource, Setting, parse_models
from robustcl.threat import Ball
from robustcl.train.engine import Engine

FGSM = {"use": "perturbed", "attack": "fgsm", "threat": {"norm": "Linf", "eps": 0.1}}
TABLES: dict[str, Any] = {
    "name": "of-others",
    "data": "ours",
    "row": [
        {"name": "first, of two", "recipe": "simclr", "paper": {"ours": {"clean": 1.0}, "clips": {"clean": 2.0}}},
        {"name": "second"},
    ],
    "column": [
        {"name": "clean", "use": "perturbed", "value": "accuracy", "attack": "none"},
        {"name": "FGSM", "value": "accuracy", **FGSM},
        {"name": "FGSM, {} eps", "value": "relative-drop", "sweep": {"key": "times", "values": [0.5, 2]}, **FGSM},
        {"name": "in the ball", "use": "perturbed", "value": "accuracy", "attack": "fgsm"},
    ],
}
CLIPS = 40
"""Test clips of three channels, two frames and 5 x 5 pixels, for which the layout can be told."""
MODEL = '''
import torch
from torch import nn

class Linear(nn.Module):
    """Two classes: whether a weighted mean of the first channel is above a half."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, 50))

    def forward(self, x):
        level = (x[:, 0].flatten(1) * self.weight).mean(1) - 0.5
        return torch.stack([-level, level], 1)

def build():
    return Linear()

def probabilities():
    return nn.Sequential(Linear(), nn.Softmax(1))

class Drawing(Linear):
    def forward(self, x):
        return super().forward(x) + torch.rand(len(x), 2)

class Mingling(Linear):
    def forward(self, x):
        return super().forward(x) - super().forward(x).mean(0)
'''


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a study, a model that fits its clips, and the clips, whose labels are the model's, some wrong."""
    (tmp_path / "study.toml").write_text(tomli_w.dumps(TABLES), encoding="utf-8")
    (tmp_path / "others_models.py").write_text(MODEL, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    levels = np.linspace(0.3, 0.7, CLIPS)
    rng = np.random.default_rng(0)
    x = np.clip(levels[:, None, None, None, None] + rng.uniform(-0.02, 0.02, (CLIPS, 3, 2, 5, 5)), 0, 1)
    label = (levels > 0.5).astype(np.int64)
    label[::10] ^= 1
    np.savez(tmp_path / "clips.npz", x_test=x.astype(np.float32), y_test=label)
    return tmp_path


def composed(**changes: Any) -> api.Composed:
    given = {"second": ModelSource("others_models:build")}
    return api.compose("study.toml", Setting(**{"dataset": "npz:clips.npz", "models": given, **changes}))


def by_hand(eps: float) -> tuple[float, float]:
    """Return the share that stands when each weight moves against the clip by eps, and the share that is lost."""
    arrays = np.load("clips.npz")
    x, label = torch.from_numpy(arrays["x_test"])[:, 0].flatten(1), torch.from_numpy(arrays["y_test"])
    weight = torch.linspace(0.5, 1.5, 50)

    def right(moved: Tensor) -> Tensor:
        return ((moved * weight).mean(1) > 0.5).long() == label

    # The loss falls with the level where the label is 1: FGSM lowers all pixels there, and raises them elsewhere.
    moved = (x + eps * (1 - 2 * label[:, None])).clamp(0, 1)
    clean, kept = float(right(x).double().mean()), float((right(x) & right(moved)).double().mean())
    return kept, (clean - kept) / clean


def test_a_linear_model_by_hand(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = composed()
    outcome = api.run(made, place / "out", device="cpu")
    first, second = ({cell.column: cell.mean for cell in line.cells} for line in outcome.lines)
    assert set(first.values()) == {None}
    assert 0 < by_hand(0.1)[0] < by_hand(0.05)[0] < by_hand(0.0)[0] < 1, "the clips tell the attacks apart"
    assert second == pytest.approx({
        "clean": 100 * by_hand(0.0)[0],
        "FGSM": 100 * by_hand(0.1)[0],
        "FGSM, 0.5 eps": 100 * by_hand(0.05)[1],
        "FGSM, 2 eps": 100 * by_hand(0.2)[1],
        "in the ball": 100 * by_hand(8 / 255)[0],
    })  # fmt: skip
    assert [line.cells[0].paper for line in outcome.lines] == [2.0, None], "the file is named as the paper's data set"
    assert "left out, because no --model is given for them: first, of two" in outcome.notes
    assert "second: others_models:build" in outcome.notes

    def never(*args: Any) -> None:
        raise AssertionError("nothing was missing")

    monkeypatch.setattr(kept, "keep", never)
    assert api.run(made, place / "out", device="cpu").records() == outcome.records()


def test_an_attack_draws_what_it_draws_in_an_evaluation_of_the_model(place: Path) -> None:
    attack = {"use": "pgd", "steps": 1, "step_size": 0.001}
    column = {"name": "PGD", "use": "perturbed", "value": "accuracy", "attack": attack}
    (place / "study.toml").write_text(tomli_w.dumps(TABLES | {"column": [*TABLES["column"], column]}), encoding="utf-8")
    outcome = api.run(composed(overrides=["threat.eps=0.9"], seeds=3), place / "out", device="cpu")
    found = []
    for seed in range(3):
        asked = ModelQuestion("others_models:build", "npz:clips.npz", eps="0.9", seed=seed, attacks=[attack], audit=0)
        clean, row = judge_model(asked, place / f"judged-{seed}", device="cpu").results.tables["rows"]
        found.append(100 * row["value"])
        assert row["value"] < clean["value"]
    assert len(set(found)) > 1, "so that another stream would be seen"
    assert outcome.lines[1].cells[-1].mean == pytest.approx(sum(found) / 3, abs=1e-12)


def test_samples_seeds_and_threat_are_those_asked_for(place: Path) -> None:
    outcome = api.run(composed(samples=10, seeds=2, overrides=["threat.eps=0.1"]), place / "out", device="cpu")
    found = {cell.column: cell for cell in outcome.lines[1].cells}
    assert (found["FGSM"].n, found["FGSM"].seeds) == (10, 2)
    assert found["in the ball"].mean == found["FGSM"].mean
    assert "the first 10 test images, threat Linf 0.1" in outcome.notes[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"models": {"secnod": ModelSource("a:b")}}, "has no row 'secnod', did you mean 'second'?"),
        ({"dataset": None}, "--model needs --dataset as well"),
        ({"overrides": ["data.batch=3"]}, "--set data.batch=3: a model has no recipe to change"),
    ],
)
def test_models_that_cannot_be(place: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        composed(**changes)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("spec", "kind", "said"),
    [
        ("others_models:none", UsageError, "row 'second': --model others_models:none: others_models has no 'none'"),
        ("others_models:probabilities", UsageError, "row 'second': the model returns probabilities"),
        ("others_models:Drawing", UsageError, "draws at random"),
        ("others_models:Mingling", UsageError, "row 'second': rows of a batch change each other's logits"),
    ],
)
def test_models_are_opened_before_anything_is_measured(
    place: Path, spec: str, kind: type[Exception], said: str
) -> None:
    made = composed(models={"first, of two": ModelSource("others_models:build"), "second": ModelSource(spec)})
    with pytest.raises(kind) as raised:
        api.run(made, place / "out", device="cpu")
    assert said in str(raised.value)
    assert not (place / "out").exists()


def test_labels_that_the_model_has_no_output_for(place: Path) -> None:
    arrays = dict(np.load("clips.npz"))
    np.savez(place / "clips.npz", x_test=arrays["x_test"], y_test=arrays["y_test"] + 1)
    with pytest.raises(DataError, match="row 'second': label 2 of sample"):
        api.run(composed(), place / "out", device="cpu")


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"column": [{"name": "SA"}]}, UsageError, 'only columns with use = "perturbed" and without clusters'),
        ({"column": [{"name": "x", "value": "drop", **FGSM, "attack": "deacl"}]}, NeedNotMet, "deacl reads"),
        ({"figure": [{"kind": "map"}]}, UsageError, "has the figure map, which looks into runs"),
        ({"axis": [{"name": "n", "path": "data.batch", "values": [1]}]}, UsageError, "changes what is trained"),
    ],
)
def test_what_a_model_cannot_have(place: Path, changes: dict[str, Any], kind: type[Exception], said: str) -> None:
    (place / "study.toml").write_text(tomli_w.dumps(TABLES | {"row": [{"name": "second"}]} | changes), encoding="utf-8")
    with pytest.raises(kind) as raised:
        composed()
    assert said in str(raised.value)


def test_flags_name_rows() -> None:
    found = parse_models(["ViT-B/16, DINO=my:build", "b=torchvision:resnet50"], ["b=w/lr=1.safetensors"])
    assert found == {
        "ViT-B/16, DINO": ModelSource("my:build"),
        "b": ModelSource("torchvision:resnet50", Path("w/lr=1.safetensors")),
    }
    for flags, said in (
        ((["my:build"], []), "--model 'my:build' is not of the form ROW=VALUE"),
        ((["a=x:y", "a=x:z"], []), "the row 'a' is named twice"),
        (([], ["a=w"]), "--weights a=w: the row has no model; give --model 'a=SPEC' as well"),
    ):
        with pytest.raises(UsageError) as raised:
            parse_models(*flags)
        assert said in str(raised.value)


def test_a_study_of_models_alone_needs_some(place: Path) -> None:
    (place / "study.toml").write_text(tomli_w.dumps(TABLES | {"row": TABLES["row"][1:]}), encoding="utf-8")
    with pytest.raises(UsageError, match="no recipe trains any of its rows; give models by --model ROW=SPEC"):
        api.compose("study.toml")


def test_the_video_study_takes_clips(place: Path) -> None:
    (place / "clips.npz").rename(place / "hmdb51.npz")
    asked = ["gupta-table-3", "--budget", "smoke", "--dataset", "npz:hmdb51.npz", "--samples", "12", "--device", "cpu"]
    asked += ["--model", "TCLR=others_models:build", "--out", str(place / "out")]
    ended = CliRunner().invoke(command, asked, catch_exceptions=False)
    assert ended.exit_code == 0
    assert "paper, hmdb51" in ended.output
    assert "no --model is given for them: Supervised; CVRL" in ended.output
    lines = [line for line in ended.output.splitlines() if "paper, hmdb51" in line]
    assert any("47.60" in line for line in lines), "lines are columns where there are more columns than a terminal has"


def test_without_models_what_has_a_recipe_is_trained() -> None:
    made = api.compose("gupta-table-2", Setting(budget="smoke"))
    assert [run.label for run in made.planned] == ["ResNet-50, supervised", "ResNet-50, SimCLR"]
    (said,) = made.absent()
    assert "ResNet-50, BYOL; ViT-B/16, supervised" in said


def test_how_images_go_into_a_row_of_torchvision_is_said(tmp_path: Path) -> None:
    from torchvision.models import mobilenet_v3_small

    safetensors.torch.save_file(mobilenet_v3_small(num_classes=2).state_dict(), tmp_path / "w.safetensors")
    x = np.random.default_rng(0).random((4, 3, 32, 32), dtype=np.float32)
    np.savez(tmp_path / "i.npz", x_test=x, y_test=np.arange(4) % 2)
    bench = models.ModelBench(Use(use=f"npz:{tmp_path / 'i.npz'}"), None, Ball.checked("Linf", 0.1), Engine("cpu"))
    said: list[str] = []
    models.preflight(
        bench, {"row": ModelSource("torchvision:mobilenet_v3_small:own", tmp_path / "w.safetensors")}, said.append
    )
    (sentence,) = said
    assert "images are normalised by mean [0.485, 0.456, 0.406]" in sentence
