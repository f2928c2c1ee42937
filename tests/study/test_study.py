"""Studies that run: what their tables and files hold, what runs share, and what is resumed, refused or given up."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from robustcl.errors import NonFiniteLoss, UsageError
from robustcl.study import api
from robustcl.study.numbers import questions
from robustcl.study.plan.setting import Setting
from robustcl.study.runs import execution as running
from robustcl.train import stage_files
from tests.shared import tiny
from tests.shared.tiny_study import compose_smoke, write_study

COLUMNS = [
    {"name": "SA", "route": "adv"},
    {"name": "RA", "route": "adv", "attack": "first"},
    {"name": "loss", "use": "metric", "metric": "loss"},
    {"name": "K", "use": "clusters"},
    {"name": "none", "use": "perturbed", "value": "fooled", "attack": "none"},
    {
        "name": "toward", "use": "perturbed", "value": "drop", "times": 2.0,
        "attack": {"use": "ncp", "strategy": "toward", "steps": 2},
        "targets": {"use": "spherical-kmeans", "clusters": 4},
    },
]  # fmt: skip


FIGURES = [
    {"kind": "bars", "columns": ["SA", "RA"], "caption": "Bars."},
    {"kind": "epochs", "metrics": ["loss", "term/deacl/robust"]},
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[api.Composed, api.FinishedStudy]:
    folder = tmp_path_factory.mktemp("study")
    made = compose_smoke(folder, column=COLUMNS, figure=FIGURES, differs=["it is tiny"], setting="somewhere",
                    set={"evaluate.slf.samples": 200})  # fmt: skip
    return made, api.run(made, folder / "out", device="cpu")


def test_the_table_holds_what_the_runs_hold(finished: tuple[api.Composed, api.FinishedStudy]) -> None:
    made, outcome = finished
    for run, line in zip(made.planned, outcome.lines, strict=True):
        folder = outcome.path / "runs" / run.folder
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        rows = {(row["route"], row["split"], row["attack"]): row["value"] for row in results["rows"]}
        log = [line for line in tiny.lines(folder / "metrics.jsonl") if line["stage"] == "robust"]
        cells = {cell.column: cell.mean for cell in line.cells}
        assert cells["SA"] == 100 * rows["adv", "test", None]
        assert cells["RA"] == 100 * rows["adv", "test", "fgsm"]
        assert cells["loss"] == pytest.approx(sum(entry["loss"] for entry in log) / len(log))
        assert cells["K"] == 5
        assert cells["none"] == 0.0, "what moves nothing fools nobody"
        assert cells["toward"] is not None


def test_what_each_row_took_is_what_its_stages_tell(finished: tuple[api.Composed, api.FinishedStudy]) -> None:
    made, outcome = finished
    for run, told in zip(made.planned, outcome.row_terms, strict=True):
        facts = [
            stage_files.facts(outcome.path / "runs" / run.folder, stage.name) or {} for stage in run.composition.stages
        ]
        assert told.label == run.label
        assert told.epochs == sum(stage.epochs for stage in run.composition.stages)
        assert told.steps == sum(fact["steps"] for fact in facts)
        assert told.passes == pytest.approx(sum(fact["passes"] for fact in facts))
        assert told.memory is None or told.memory > 50
        assert told.optimizer == "sgd, lr 0.1, batch 128; adam, lr cosine 0.01 to 0, batch 256"
    text = (outcome.path / "study.md").read_text(encoding="utf-8")
    assert f"| {made.planned[0].label} " in text.partition("epochs")[2]


def test_the_files_of_a_study(finished: tuple[api.Composed, api.FinishedStudy]) -> None:
    _, outcome = finished
    text = (outcome.path / "study.md").read_text(encoding="utf-8")
    assert "| near " in text
    assert "- it is tiny" in text
    assert "- ours: digits, budget smoke, 1 seed, threat Linf 16/255" in text
    assert "- the paper's: somewhere" in text
    with (outcome.path / "study.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["row"], row["column"]) for row in rows] == [
        (label, column["name"]) for label in ("near", "far") for column in COLUMNS
    ]
    assert float(rows[0]["mean"]) == outcome.lines[0].cells[0].mean
    page = (outcome.path / "study.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert (outcome.path / "figure-1.svg").read_text(encoding="utf-8").startswith("<svg")


def test_a_shared_first_stage_is_trained_once_and_changes_nothing(
    finished: tuple[api.Composed, api.FinishedStudy], tmp_path: Path
) -> None:
    made, outcome = finished
    near, far = (outcome.path / "runs" / run.folder for run in made.planned)
    assert stage_files.facts(near, "pretrain") == stage_files.facts(far, "pretrain"), "its seconds too: it was copied"
    assert not (far / "checkpoints" / "pretrain").exists()
    alone = made.planned[1].composition.train(tmp_path / "alone", device="cpu", report=False)
    assert tiny.lines(far / "metrics.jsonl", "seconds") == tiny.lines(alone.path / "metrics.jsonl", "seconds")
    for stage in ("pretrain", "robust"):
        ours, theirs = (
            stage_files.load(stage_files.stage_folder(folder, stage)).state_dict() for folder in (far, alone.path)
        )
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    results = json.loads((far / "results.json").read_text(encoding="utf-8"))
    assert results["rows"] == alone.results.tables["rows"]


def test_only_equal_first_stages_are_shared() -> None:
    stages = [{"name": "a", "epochs": 1}, {"name": "b", "epochs": 1}]
    one = {"seed": 0, "data": {"use": "digits"}, "threat": {"eps": "8/255"}, "encoder": {}, "stage": stages}
    assert running.shared_stages(one, one) == ["a", "b"]
    assert running.shared_stages(one, one | {"stage": [stages[0], {"name": "b", "epochs": 2}]}) == ["a"]
    assert running.shared_stages(one, one | {"stage": [{"name": "a", "epochs": 2}, stages[1]]}) == []
    for key, value in (
        ("seed", 1),
        ("data", {"use": "cifar10"}),
        ("threat", {"eps": "4/255"}),
        ("encoder", {"use": "x"}),
    ):
        assert running.shared_stages(one, one | {key: value}) == []


def test_what_is_finished_is_not_trained_or_measured_again(
    finished: tuple[api.Composed, api.FinishedStudy], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, outcome = finished

    def never(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("nothing was missing")

    monkeypatch.setattr(running, "resume", never)
    monkeypatch.setattr(questions, "answer", never)
    assert api.run(made, outcome.path, device="cpu").records() == outcome.records()


def test_a_table_so_far_leaves_out_what_is_not_finished(
    finished: tuple[api.Composed, api.FinishedStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, outcome = finished
    with pytest.raises(UsageError, match="no run of the study is finished there; train it first"):
        api.run(made, tmp_path / "nowhere", so_far=True)
    assert not (tmp_path / "nowhere").exists()
    shutil.copytree(outcome.path, tmp_path / "out")
    (tmp_path / "out/runs/far-seed0/results.json").unlink()
    monkeypatch.setattr(running, "resume", None)
    found = api.run(made, tmp_path / "out", so_far=True)
    assert found.lines[0] == outcome.lines[0]
    assert {cell.mean for cell in found.lines[1].cells} == {None}
    assert "- far-seed0 is left out: it is not finished" in found.markdown()
    assert [one.label for one in found.row_terms] == ["near"]


def test_a_directory_with_other_settings_is_refused_before_anything_is_made(
    finished: tuple[api.Composed, api.FinishedStudy], tmp_path: Path
) -> None:
    _, outcome = finished
    changed = compose_smoke(tmp_path, Setting(budget="smoke", overrides=["data.batch=64"]))
    before = sorted(outcome.path.rglob("*"))
    with pytest.raises(UsageError, match=r"row 'near': .*near-seed0 holds a run with other settings.*another --out"):
        api.run(changed, outcome.path, device="cpu")
    assert sorted(outcome.path.rglob("*")) == before


def test_data_that_do_not_fit_are_told_before_a_directory_exists(tmp_path: Path) -> None:
    rows = [
        {"name": "good", "recipe": "tiny.toml"},
        {"name": "bad", "recipe": "tiny.toml", "set": {"stage.robust.batch": 5000}},
    ]
    made = compose_smoke(tmp_path, row=rows)
    with pytest.raises(UsageError, match=r"row 'bad': stage\.robust: a batch of 5000 is larger than"):
        api.run(made, tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_a_run_whose_loss_became_infinite_leaves_its_line_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = compose_smoke(tmp_path, figure=[{"kind": "bars", "columns": ["SA"]}])
    real = running.resume

    def resume(folder: Path, **rest: Any) -> Any:
        if folder.name == "far-seed0":
            raise NonFiniteLoss("the term robust became nan")
        return real(folder, **rest)

    monkeypatch.setattr(running, "resume", resume)
    outcome = api.run(made, tmp_path / "out", device="cpu")
    assert list(outcome.failed) == ["far-seed0"]
    assert [line.cells[0].text() == "–" for line in outcome.lines] == [False, True]
    assert "- far-seed0 is left out: the term robust became nan" in outcome.markdown()


def test_the_command_goes_on_after_an_interruption(tmp_path: Path) -> None:
    write_study(tmp_path)
    words = ["study", "study.toml", "--budget", "smoke", "--device", "cpu", "--out"]
    cut, again, whole, bad = tiny.run_legs(
        tmp_path,
        [
            tiny.Leg([*words, "cut"], at="Ctrl-C", call=13),
            tiny.Leg([*words, "cut"]),
            tiny.Leg([*words, "whole", "--json"]),
            tiny.Leg(["study", "study.tml"]),
        ],
    )
    assert cut.code == 130
    assert "by giving the same command again" in cut.said
    assert "| near " not in cut.said
    assert again.code == 0, again.said
    assert "| near " in again.said
    found = json.loads(whole.said.splitlines()[-1])
    assert [row["row"] for row in found["rows"]] == ["near", "far"]
    for name in ("near-seed0", "far-seed0"):
        mine, theirs = (tmp_path / place / "runs" / name / "metrics.jsonl" for place in ("cut", "whole"))
        assert tiny.lines(mine, "seconds") == tiny.lines(theirs, "seconds")
    assert (tmp_path / "cut" / "study.csv").read_bytes() == (tmp_path / "whole" / "study.csv").read_bytes()
    assert bad.code == 2
    assert len([line for line in bad.said.splitlines() if line.startswith("robustcl:")]) == 1


def test_a_study_takes_stages_that_another_has_kept(tmp_path: Path) -> None:
    made = compose_smoke(tmp_path, column=[{"name": "SA", "route": "adv"}])
    steps: dict[str, list[str]] = {"one": [], "two": []}
    for name, trained in steps.items():
        machine = running.Machine("cpu", place=tmp_path / "store")
        running.execute(
            made.planned[:1], tmp_path / name, machine, watcher=lambda stage, *_, to=trained: to.append(stage),
            say=lambda sentence: None,
        )  # fmt: skip
    assert {"pretrain", "robust"} <= {*steps["one"]}
    assert not {"pretrain", "robust"} & {*steps["two"]}
    for path in (tmp_path / "one").glob("runs/*/stages/*/model.safetensors"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
    options = json.loads(next(tmp_path.glob("two/runs/*/run.json")).read_text(encoding="utf-8"))
    assert options["store"] == str(tmp_path / "store")
