"""Columns of corrupted images: what is refused before anything is trained, and what leaves a cell empty."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch

from robustcl.data.corrupted import generate
from robustcl.errors import UsageError
from robustcl.rng import Rng
from robustcl.study import api
from robustcl.study.grammar.columns import COLUMN, Corrupted
from robustcl.study.numbers import corrupted
from robustcl.study.numbers.reading import Reading
from robustcl.study.plan.setting import ModelSource, Setting
from tests.shared.tiny_study import compose_plain

ASKED = {"set": {"evaluate.slf.corruptions": {"names": ["fog", "contrast"], "severities": [1, 5]}}}
ALL = {"set": {"evaluate.slf.corruptions": True}}
PLACE = ("slf", "clean")
CE = {"value": "corruption-error"}


def column(**keys: Any) -> Corrupted:
    found = COLUMN.validate_python({"name": "x", "use": "corrupted", **keys})
    assert isinstance(found, Corrupted)
    return found


@pytest.mark.parametrize(
    ("study", "keys", "said"),
    [
        (ASKED, {"value": "relative-drop", "baseline": "near"}, 'value = "corruption-error" and no other is divided'),
        (ASKED, CE, "give both, baseline ="),
        (ASKED, CE | {"baseline": "nar"}, "no row 'nar' is trained, did you mean 'near'?"),
        (ASKED, CE | {"baseline": {"fog": 50.0, "contrast": 50.0}}, "given errors are means over five severities"),
        (ALL, CE | {"baseline": {"fog": 50.0}}, "it has no error on 'gaussian_noise'; give one, in percent"),
        (ALL, CE | {"corruption": "fog", "baseline": {"fog": 0.0}}, "fog = 0.0 is not accepted; give an error above 0"),
        (ALL, CE | {"corruption": "fog", "baseline": {"fog": 5.0, "fgo": 1.0}}, "no corruption 'fgo', did you mean"),
        (ASKED, {"corruption": "frost"}, "the recipe is not judged on 'frost'"),
        ({}, {"corruption": "fog"}, "the recipe is not judged on 'fog'; set evaluate.PROTOCOL.corruptions"),
        (
            {"row": [{"name": "near", "recipe": "tiny.toml", "set": ASKED["set"]},
                     {"name": "far", "recipe": "tiny.toml", "set": ALL["set"]}]},
            CE | {"corruption": "fog", "baseline": "far"},
            "the row 'far' is not judged on the same corruptions and severities",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(tmp_path: Path, study: Any, keys: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        compose_plain(tmp_path, column=[{"name": "x", "use": "corrupted", **keys}], **study)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_frost_without_photographs_leaves_an_empty_cell(tmp_path: Path) -> None:
    assert compose_plain(tmp_path, column=[{"name": "x", "use": "corrupted", "corruption": "frost"}], **ALL).planned
    told = {"corruptions": [{"protocol": "slf", "route": "clean", "accuracy": {"fog": [0.5] * 5}}]}
    assert corrupted.read(column(corruption="frost"), PLACE, told, None, None) is None
    given = column(value="corruption-error", corruption="fog", baseline={"fog": 80.0, "snow": 10.0})
    assert corrupted.read(given, PLACE, told, None, None) == Reading(pytest.approx(0.5 / 0.8))
    row = column(value="corruption-error", corruption="fog", baseline="near")
    assert corrupted.read(row, PLACE, told, None, (PLACE, {"corruptions": []})) is None
    other = {"corruptions": [{**told["corruptions"][0], "protocol": "slf", "route": "own"}]}
    assert corrupted.read(row, PLACE, told, None, (("slf", "own"), other)) == Reading(pytest.approx(1.0))
    lost = column(value="relative-drop", corruption="fog")
    assert corrupted.read(lost, PLACE, told, Reading(0.8), None) == Reading(pytest.approx(1 - 0.5 / 0.8))
    assert corrupted.read(lost, PLACE, told, Reading(0.0), None) is None


# Models of others -----------------------------------------------------------------------------------------------------

MODEL = '''
import torch
from torch import nn

class Level(nn.Module):
    """Two classes: whether an image's mean is above a half."""

    def forward(self, x):
        level = x.flatten(1).mean(1) - 0.5
        return torch.stack([-level, level], 1)
'''
OF_MODELS: dict[str, Any] = {
    "name": "of-others",
    "set": {"evaluate.slf.corruptions": {"names": ["fog", "brightness"], "severities": [1, 4]}},
    "row": [{"name": "theirs"}],
    "column": [
        {"name": "clean", "use": "perturbed", "value": "accuracy", "attack": "none"},
        {"name": "{}", "use": "corrupted", "sweep": {"key": "corruption", "values": ["fog", "mean"]}},
        {"name": "drop", "use": "corrupted", "value": "relative-drop"},
    ],
}


def of_models(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> api.Composed:
    (folder / "study.toml").write_text(tomli_w.dumps(OF_MODELS | changes), encoding="utf-8")
    (folder / "level_models.py").write_text(MODEL, encoding="utf-8")
    x = Rng(0, "x").uniform((30, 3, 8, 8)) * 0.2 + torch.linspace(0.2, 0.65, 30)[:, None, None, None]
    label = (x.flatten(1).mean(1) > 0.5).long()
    label[::7] ^= 1
    np.savez(folder / "images.npz", x_test=(x * 255).round().byte().numpy(), y_test=label.numpy())
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    given = {"theirs": ModelSource("level_models:Level")}
    return api.compose("study.toml", Setting(dataset="npz:images.npz", models=given))


def test_a_model_is_judged_on_corruptions_as_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = of_models(tmp_path, monkeypatch)
    outcome = api.run(made, tmp_path / "out", device="cpu")
    arrays = np.load("images.npz")
    images, label = torch.from_numpy(arrays["x_test"]), torch.from_numpy(arrays["y_test"])

    def right(x: torch.Tensor) -> float:
        return float(((x.flatten(1).mean(1) > 0.5).long() == label).double().mean())

    found = {(name, level): right(generate(images, name, level, Rng(0, "corruption", name, level)))
             for name in ("fog", "brightness") for level in (1, 4)}  # fmt: skip
    assert len(set(found.values())) > 2, "the corruptions can be told apart"
    clean, mean = right(images / 255), sum(found.values()) / 4
    assert {cell.column: cell.mean for cell in outcome.lines[0].cells} == pytest.approx({
        "clean": 100 * clean,
        "fog": 50 * (found["fog", 1] + found["fog", 4]),
        "mean": 100 * mean,
        "drop": 100 * (1 - mean / clean),
    })  # fmt: skip


def test_a_model_has_no_row_for_its_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [{"name": "CE", "use": "corrupted", **CE, "baseline": "theirs"}]
    with pytest.raises(UsageError, match="a model's errors are divided by given ones; write baseline as a table"):
        of_models(tmp_path, monkeypatch, column=columns)
    with pytest.raises(UsageError, match=r"not judged on 'mean'; set evaluate\.PROTOCOL\.corruptions"):
        of_models(tmp_path, monkeypatch, column=[{"name": "x", "use": "corrupted"}], set={})
