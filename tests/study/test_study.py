"""Studies: the grid, its columns and measures, what is shared and resumed, and every study that is installed."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from torch import Tensor

from robustcl import registry
from robustcl.analysis.measure.clusters import nearest
from robustcl.analysis.measure.run import take
from robustcl.composition.asked import attack_of
from robustcl.composition.parts import Parts
from robustcl.errors import NeedNotMet, NonFiniteLoss, UnknownPlugin, UsageError
from robustcl.evaluate import scaled
from robustcl.protocols import Need
from robustcl.recipe import Use
from robustcl.report import marked
from robustcl.study import api
from robustcl.study.figures import figure
from robustcl.study.grammar import source, spots
from robustcl.study.grammar.study import Study
from robustcl.study.numbers import columns, measures
from robustcl.study.numbers.reading import Reading, is_answered, read_value, share
from robustcl.study.plan import grid
from robustcl.study.plan.setting import Setting
from robustcl.study.runs import execution as running
from robustcl.study.tables import layout, table
from robustcl.threat import Ball
from robustcl.train import store
from robustcl.types import Attack, Clustering, Embedding
from tests.shared import pixels, tiny
from tests.shared.distributions import install
from tests.shared.tiny_study import study, tables

given = pixels.given

BUDGETS = ("smoke", "small", "paper")


def written(folder: Path, **changes: Any) -> str:
    """Write the tiny recipe and a study of it; return the study's name."""
    recipe = tiny.tables(budget={"smoke": {"stage.robust.epochs": 1}}, adapt={"digits": {"threat.eps": "16/255"}})
    (folder / "tiny.toml").write_text(tomli_w.dumps(recipe), encoding="utf-8")
    (folder / "study.toml").write_text(tomli_w.dumps(tables(**changes)), encoding="utf-8")
    return str(folder / "study.toml")


def composed(folder: Path, asked: Setting | None = None, **changes: Any) -> api.Composed:
    return api.compose(written(folder, **changes), asked or Setting(budget="smoke"))


# What ships -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("name", sorted(registry.studies()))
def test_every_row_of_every_study_composes(name: str, budget: str) -> None:
    found = api.compose(name, Setting(budget=budget))
    assert found.study.name == name.rpartition("/")[2]
    assert found.study.about
    assert found.study.cite
    assert found.study.differs, "a study says what differs from the paper"


@pytest.mark.parametrize("name", sorted(registry.studies()))
def test_every_study_composes_on_the_papers_data(name: str) -> None:
    found = api.compose(name, Setting(budget="paper", dataset="cifar10"))
    assert {float(run.composition.ball.eps) for run in found.planned} == {8 / 255}


def test_what_ncp_table_5_holds() -> None:
    found = api.compose("ncp-table-5", Setting(budget="paper", dataset="stl10"))
    assert [run.point["n"] for run in found.planned] == [2, 3, 4, 5]
    generators = [run.composition.stages[1].generators[0].part.plugin for run in found.planned]
    assert [generator.neighbour for generator in generators] == [2, 3, 4, 5]
    assert table.find_published(found.study, Use(use="stl10")) == "stl10"
    assert table.find_published(found.study, Use(use="digits")) == "cifar10"


# Grammar and source ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows": []}, "unknown key 'rows', did you mean 'row'"),
        ({"row": [{"name": "x", "recip": "simclr"}]}, "unknown key 'row.x.recip', did you mean 'recipe'"),
        ({"row": []}, "row = []"),
        ({"row": [{"name": "x", "recipe": "a"}] * 2}, "two row tables are named 'x'; rename one"),
        ({"column": [{"name": "SA", "use": "acuracy"}]}, "column"),
        ({"column": [{"name": "SA", "rout": "adv"}]}, "column.SA.rout"),
        ({"column": []}, "nothing is measured; add a [[column]] or a [[figure]]"),
        ({"figure": [{"kind": "bars", "columns": ["RA"]}]}, "figure.bars.columns: there is no column 'RA'"),
        ({"figure": [{"kind": "lines", "axis": "K", "columns": ["SA"]}]}, "there is no axis 'K'"),
        (
            {"row": [{"name": "x", "recipe": "a", "paper": {"cifar10": {"AS": 1.0}}}]},
            "row.x.paper.cifar10: there is no column 'AS'; there is SA",
        ),
        ({"name": "../elsewhere"}, "name = '../elsewhere' is not accepted"),
        ({"figure": [{"kind": "pie"}]}, "give kind = one of 'bars', 'lines', 'epochs', 'silhouette'"),
        ({"row": "a"}, "row = 'a' is not accepted; give a list"),
        (
            {"row": [{"name": "x", "recipe": "a", "column": {"SA": {"split": "tset"}}}]},
            "row.x.column.SA: split = 'tset' is not accepted",
        ),
    ],
)
def test_faults_are_sentences(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        study(**changes)
    assert said in str(raised.value)
    assert str(raised.value).startswith("the study tiny-study: ")
    assert "\n" not in str(raised.value)


def test_an_unknown_study_is_answered_with_the_near_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownPlugin, match="offers a study called 'ncp-table-6', did you mean 'ncp-table-"):
        api.compose("ncp-table-6")
    with pytest.raises(UsageError, match=r"there is no study file .*none\.toml"):
        api.compose(str(tmp_path / "none.toml"))


def test_the_data_set_changes_a_study_before_the_budget(tmp_path: Path) -> None:
    axis = [{"name": "n", "path": "stage.robust.generator.neighbour", "values": [2, 3, 4, 5]}]
    changes = {
        "adapt": {"digits": {"axis.n.values": [2, 3], "set": {"data.batch": 64}}, "cifar10": {"axis.n.values": [5]}},
        "budget": {"smoke": {"axis.n.values": [4]}},
    }
    name = written(tmp_path, axis=axis, **changes)
    assert source.read(name, budget="small").axis[0].values == [2, 3]
    assert source.read(name, budget="smoke").axis[0].values == [4]
    assert source.read(name, budget="small", dataset="cifar10").axis[0].values == [5]
    assert source.read(name, budget="small", dataset="npz:some.npz").axis[0].values == [2, 3, 4, 5]
    assert source.read(name, budget="small").set == {"data.batch": 64}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"adapt": "x"}, r"adapt = 'x' is not accepted; give tables \[adapt.NAME\]"),
        ({"budget": {"small": 3}}, "budget.small of the study .*: write a table of paths and values"),
        ({"budget": {"small": {"set": 3}}}, "budget.small of the study .*: set = 3 is not accepted; give a table"),
    ],
)
def test_changes_that_are_no_tables_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        source.read(written(tmp_path, **changes))


def test_studies_of_other_distributions_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"acme_studies/__init__.py": "", "acme_studies/theirs.toml": "name = 'theirs'"}
    install(tmp_path, "acme", {"robustcl.studies": {"acme": "acme_studies"}}, files)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.refresh()
    try:
        assert str(registry.studies()["theirs"]) == "acme 1.0"
        assert registry.study_text("theirs") == "name = 'theirs'"
        with pytest.raises(UsageError, match="the study theirs: the key 'row' is missing; add it"):
            api.compose("theirs")
    finally:
        registry.refresh()


# The grid -------------------------------------------------------------------------------------------------------------


def test_rows_axes_and_seeds_are_multiplied(tmp_path: Path) -> None:
    axis = [{"name": "n", "path": "stage.robust.generator.neighbour", "values": [2, 4]}]
    rows = [{"name": "a", "recipe": "tiny.toml"}, {"name": "b", "recipe": "tiny.toml", "set": {"data.batch": 64}}]
    found = composed(tmp_path, Setting(budget="smoke", seeds=2), row=rows, axis=axis).planned
    assert [(run.label, run.seed) for run in found] == [
        (label, seed) for label in ("a, n = 2", "a, n = 4", "b, n = 2", "b, n = 4") for seed in (0, 1)
    ]
    assert len({run.folder for run in found}) == 8
    assert found[2].composition.stages[1].generators[0].part.plugin.neighbour == 4
    assert found[3].composition.recipe.seed == 1


def test_what_changes_a_recipe_comes_in_order(tmp_path: Path) -> None:
    # The study's set, the row's, the axis', the command line's: each later one wins.
    path = "stage.robust.generator.steps"
    rows = [{"name": "a", "recipe": "tiny.toml", "set": {path: 4, "stage.robust.generator.neighbour": 4}}]
    axis = [{"name": "n", "path": "stage.robust.generator.neighbour", "values": [5]}]
    every = {path: 3, "data.batch": 64}
    setting = Setting(budget="smoke", overrides=["data.validation=0.2"])
    run = composed(tmp_path, setting, row=rows, axis=axis, set=every).planned[0].composition
    generator = run.stages[1].generators[0].part.plugin
    assert (generator.steps, generator.neighbour, run.recipe.data.batch) == (4, 5, 64)
    assert run.recipe.data.validation == 0.2
    assert run.recipe.stage[1].epochs == 1, "the recipe's own budget is applied"
    assert float(run.ball.eps) == 16 / 255, "the recipe's own adaptation is applied"


def test_what_is_dropped_takes_its_budget_along(tmp_path: Path) -> None:
    rows = [{"name": "a", "recipe": "tiny.toml", "drop": ["stage.robust"], "set": {"evaluate.slf.route": ["clean"]}}]
    run = composed(tmp_path, row=rows).planned[0].composition
    assert [stage.name for stage in run.stages] == ["pretrain"]


def test_equal_compositions_are_one_run(tmp_path: Path) -> None:
    rows = [{"name": "a", "recipe": "tiny.toml"}, {"name": "b", "recipe": "tiny.toml"}]
    assert [run.folder for run in composed(tmp_path, row=rows).planned] == ["a-seed0", "a-seed0"]


def test_labels_that_look_alike_have_folders_of_their_own(tmp_path: Path) -> None:
    rows = [
        {"name": name, "recipe": "tiny.toml", "set": {"data.batch": batch}}
        for name, batch in (("a b", 64), ("A-b", 32))
    ]
    assert [run.folder for run in composed(tmp_path, row=rows).planned] == ["a-b-seed0", "a-b-again-seed0"]


def test_a_row_that_does_not_compose_is_named_with_its_study(tmp_path: Path) -> None:
    rows = [
        {"name": "good", "recipe": "tiny.toml"},
        {"name": "bad", "recipe": "tiny.toml", "set": {"stage.robust.generator.steps": -1}},
    ]
    with pytest.raises(UsageError, match=r"the study tiny-study, row 'bad': .*steps = -1"):
        composed(tmp_path, row=rows)
    rows[1] = {"name": "bad", "recipe": "no-such-recipe"}
    with pytest.raises(UsageError, match="the study tiny-study, row 'bad': no installed distribution offers a recipe"):
        composed(tmp_path, row=rows)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ({"route": "third"}, "the route 'third' is not judged; clean, adv are"),
        ({"protocol": "alf"}, "the recipe is not judged by alf, did you mean 'slf'?"),
        ({"attack": "pgd-20"}, "the recipe is not judged under 'pgd-20'; it is under fgsm"),
        ({"use": "metric", "metric": "pairs/deacl/positive"}, "stage robust logs no 'pairs/deacl/positive'"),
        ({"use": "metric", "metric": "loss", "stage": "robst"}, "has no stage 'robst', did you mean 'robust'?"),
        ({"use": "clusters", "stage": "pretrain"}, "the stage pretrain clusters nothing"),
        ({"use": "perturbed", "value": "fooled", "attack": "ncp"}, "ncp reads "),
        ({"use": "perturbed", "value": "fooled", "attack": "deacl"}, "deacl reads "),
        (
            {
                "use": "perturbed",
                "value": "fooled",
                "attack": {"use": "ncp", "neighbour": 9},
                "targets": {"use": "spherical-kmeans", "clusters": 3},
            },
            "column 'x'.attack: ncp: neighbour = 9 needs as many clusters, but there are 3",
        ),
        ({"use": "perturbed", "value": "fooled", "attack": "pgx"}, "pgx"),
    ],
)
def test_a_column_that_the_runs_cannot_have_is_refused(tmp_path: Path, column: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        composed(tmp_path, column=[{"name": "x", **column}])
    assert said in str(raised.value)
    assert "the study tiny-study, row 'near', column 'x'" in str(raised.value)


def test_a_figure_that_the_runs_cannot_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"figure silhouette: no stage chooses its clusters"):
        composed(tmp_path, figure=[{"kind": "silhouette"}])
    with pytest.raises(UsageError, match=r"figure epochs: stage pretrain logs no 'val/x'"):
        composed(tmp_path, figure=[{"kind": "epochs", "stage": "pretrain", "metrics": ["val/x"]}])
    axis = [{"name": "K", "path": "stage.robust.targets.clusters", "values": [5, "silhouette"]}]
    with pytest.raises(UsageError, match=r"figure lines: the axis 'K' has values that are no numbers"):
        composed(tmp_path, axis=axis, figure=[{"kind": "lines", "axis": "K", "columns": ["SA"]}])


# Running --------------------------------------------------------------------------------------------------------------

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
    made = composed(folder, column=COLUMNS, figure=FIGURES, differs=["it is tiny"], setting="somewhere",
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
        facts = [store.facts(outcome.path / "runs" / run.folder, stage.name) or {} for stage in run.composition.stages]
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
    assert store.facts(near, "pretrain") == store.facts(far, "pretrain"), "its seconds too: it was copied"
    assert not (far / "checkpoints" / "pretrain").exists()
    alone = made.planned[1].composition.train(tmp_path / "alone", device="cpu", report=False)
    assert tiny.lines(far / "metrics.jsonl", "seconds") == tiny.lines(alone.path / "metrics.jsonl", "seconds")
    for stage in ("pretrain", "robust"):
        ours, theirs = (store.load(store.stage_folder(folder, stage)).state_dict() for folder in (far, alone.path))
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
    monkeypatch.setattr(measures, "answer", never)
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
    changed = composed(tmp_path, Setting(budget="smoke", overrides=["data.batch=64"]))
    before = sorted(outcome.path.rglob("*"))
    with pytest.raises(UsageError, match=r"row 'near': .*near-seed0 holds a run with other settings.*another --out"):
        api.run(changed, outcome.path, device="cpu")
    assert sorted(outcome.path.rglob("*")) == before


def test_data_that_do_not_fit_are_told_before_a_directory_exists(tmp_path: Path) -> None:
    rows = [
        {"name": "good", "recipe": "tiny.toml"},
        {"name": "bad", "recipe": "tiny.toml", "set": {"stage.robust.batch": 5000}},
    ]
    made = composed(tmp_path, row=rows)
    with pytest.raises(UsageError, match=r"row 'bad': stage\.robust: a batch of 5000 is larger than"):
        api.run(made, tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_a_run_whose_loss_became_infinite_leaves_its_line_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = composed(tmp_path, figure=[{"kind": "bars", "columns": ["SA"]}])
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
    written(tmp_path)
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


# Numbers --------------------------------------------------------------------------------------------------------------


def test_metrics_are_averaged_within_their_epoch(tmp_path: Path) -> None:
    log = [
        ("robust", 0.5, 8.0),
        ("robust", 1.0, 4.0),
        ("pretrain", 1.0, 99.0),
        ("robust", 1.5, 1.0),
        ("robust", 3.0, 2.0),
    ]
    lines = [json.dumps({"stage": stage, "step": 1, "epoch": epoch, "loss": loss}) for stage, epoch, loss in log]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines), encoding="utf-8")
    run = composed(tmp_path).planned[0]
    assert columns.epochs(run, tmp_path, "robust", "loss") == columns.Curve("loss", (1.0, 2.0, 3.0), (6.0, 1.0, 2.0))
    found = {}
    for over in ("first epoch", "last epoch", "all epochs"):
        column = study(column=[{"name": "x", "use": "metric", "metric": "loss", "over": over}]).column[0]
        (reading,) = columns.read([column], run, tmp_path)
        assert reading is not None
        found[over] = reading.value
    assert found == {"first epoch": 6.0, "last epoch": 2.0, "all epochs": 3.0}


def test_seeds_become_a_mean_and_a_deviation() -> None:
    one = study(row=[{"name": "a", "recipe": "x", "paper": {"cifar10": {"SA": 80.0}}}], data="cifar10")
    line = table.line(
        one,
        next(spots.points(one)),
        [[Reading(0.5, 0.4, 0.6, 10)], [Reading(0.7, 0.6, 0.8, 10)]],
        "cifar10",
    )
    cell = line.cells[0]
    assert cell.mean == pytest.approx(60.0)
    assert cell.std == pytest.approx(100 * (2 * 0.1**2 / 1) ** 0.5)
    assert (cell.low, cell.seeds, cell.paper) == (None, 2, 80.0)
    text = marked.table(layout.make_grid(one, [line], "cifar10"))
    assert text.splitlines()[0] == "|     |      SA, ours | SA, paper, cifar10 |"
    assert text.splitlines()[2] == "| a   | 60.00 ± 14.14 |              80.00 |"
    alone = table.line(one, next(spots.points(one)), [[Reading(0.5, 0.4, 0.6, 10)]], "stl10").cells[0]
    assert alone.text() == "50.00 [40.00, 60.00]"
    assert alone.paper is None, "the paper has nothing for this data set"


def test_what_an_axis_reports_stands_at_its_value() -> None:
    axis = [{"name": "n", "path": "p", "values": [2, 3], "paper": {"2": {"stl10": {"SA": 84.06}}}}]
    one = study(row=[{"name": "a", "recipe": "x"}], axis=axis, data="stl10")
    found = [table.line(one, spot, [], "stl10").cells[0] for spot in spots.points(one)]
    assert [cell.paper for cell in found] == [84.06, None]
    assert [cell.text() for cell in found] == ["–", "–"]


@pytest.mark.parametrize("block", [1, 3, 250])
def test_fooled_and_drop_by_hand(block: int, given: list[tuple[int, bool]], tmp_path: Path) -> None:
    # Right before: images 0 and 1 (class 0) and 3 (class 1). Moved by 0.35: 0.45, 0.55, 0.65, 1.25.
    # After: image 0 stays right, image 1 is fooled, image 2 was wrong before, image 3 stays right.
    # The true class's probability falls by 0.35, 0.35 and -0.1 on the three, as it is 1 at most: 0.2 on average.
    entry = take(tmp_path, {}, ["fooled"], pixels.sample(block=block))
    assert read_value(entry, "fooled") == share(1, 3)
    assert read_value(entry, "drop") == Reading(pytest.approx(0.2, abs=1e-5), n=3)


def test_a_classifier_that_is_always_wrong_has_nobody_to_fool(given: list[tuple[int, bool]], tmp_path: Path) -> None:
    class Wrong(pixels.Pixels):
        def predict(self, x: Tensor) -> Tensor:
            return torch.full((len(x),), 7)

        def embed(self, x: Tensor, layers: frozenset[str]) -> Embedding:
            return Embedding(logits=torch.tensor([[0.0, 0.0, 1.0]]).expand(len(x), 3), h=x)

    entry = take(tmp_path, {}, ["fooled", "relative-drop"], pixels.sample(Wrong()))
    assert read_value(entry, "accuracy") == share(0, 4)
    for value in ("relative-drop", "fooled", "drop"):
        assert is_answered(entry, value)
        assert read_value(entry, value) is None, "an empty cell, and no division by zero"


def test_a_test_image_belongs_to_the_nearest_centroid() -> None:
    centroids = (torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([[0.6, 0.8]]))
    train = Clustering(centroids, torch.zeros(2, 9, dtype=torch.int64), torch.zeros(2, 9), (0.0, 0.0), {})
    found = nearest(train, pixels.Pixels(), pixels.Four(), torch.arange(4), 3)  # type: ignore[arg-type]
    assert found.assignment.tolist() == [[0, 0, 0, 1], [0, 0, 0, 0]]
    # (0.9, 0.1) has length sqrt(0.82): its cosine to (1, 0) is 0.9 / sqrt(0.82).
    assert float(found.confidence[0, 3]) == pytest.approx(0.9 / 0.82**0.5)


def test_an_attack_sees_the_clusters_of_the_judged_encoder(tmp_path: Path) -> None:
    """The own cluster of each test image is the one nearest to its clean features, whatever block it comes in."""
    seen: list[Tensor] = []

    class Watching:
        needs = frozenset({Need.FEATURES, Need.CLUSTERS, Need.INDEX})
        citation = "no source: it looks"

        def perturb(self, x: Tensor, attack: Attack) -> Tensor:
            clean = torch.nn.functional.normalize(attack.clean().h.double(), dim=1)
            best = (clean @ attack.clusters.centroids[0].double().T).argmax(1)
            assert torch.equal(attack.clusters.assignment[0][attack.index], best)
            seen.append(attack.index)
            assert float(attack.ball.eps) == pytest.approx(0.5 * 16 / 255)
            return x.detach()

    column = {"name": "x", "use": "perturbed", "value": "fooled", "attack": "watching", "times": 0.5}
    with registry.local("generator", "watching", Watching):
        with pytest.raises(NeedNotMet, match=r"column 'x': watching reads .*; add targets"):
            composed(tmp_path, column=[column])
        targets = {"use": "spherical-kmeans", "clusters": "silhouette", "grid": [3, 6]}
        rows = [{"name": "a", "recipe": "tiny.toml", "set": {"evaluate.slf.block": 5, "evaluate.slf.samples": 100}}]
        made = composed(tmp_path, row=rows, column=[column | {"targets": targets}])
        api.run(made, tmp_path / "out", device="cpu")
    assert len(seen) > 1


def test_steps_grow_with_the_ball() -> None:
    column = study(
        column=[{"name": "x", "use": "perturbed", "value": "accuracy", "attack": {"use": "pgd", "step_size": 0.01}}]
    )
    part = attack_of(column.column[0].attack, Parts(), "x")  # type: ignore[union-attr]
    ((_, moved),) = scaled.members(part.plugin, 10, Ball.checked("Linf", "16/255"), 2.0)
    assert moved.step_size == 0.02  # type: ignore[attr-defined]
    assert part.plugin.generator.step_size == 0.01


# Figures --------------------------------------------------------------------------------------------------------------


def drawn(one: Study, runs: Sequence[tuple[grid.Planned, Path]] = ()) -> str:
    lines = [
        table.line(one, spot, [[Reading(0.1 * place, 0.0, 1.0, 10)]], "cifar10")
        for place, spot in enumerate(spots.points(one), 1)
    ]
    (drawing,) = figure.draw_all(one, lines, runs, "cifar10")
    assert drawing.caption in ("Said.", "Said. Error bars: the 95 % interval over images.")
    return str(drawing.svg)


def test_lines_along_an_axis_are_one_for_each_row() -> None:
    axis = [{"name": "K", "path": "p", "values": [5, 10, 20]}]
    svg = drawn(study(axis=axis, figure=[{"kind": "lines", "axis": "K", "columns": ["SA"], "caption": "Said."}]))
    # near: 10, 20, 30 percent; far: 40, 50, 60.
    assert "near from 10 to 30, far from 40 to 60" in svg
    assert all(f">{text}<" in svg for text in ("near", "far", "K", "SA (%)"))


def test_bars_show_what_the_paper_reports() -> None:
    rows = [{"name": "a", "recipe": "x", "paper": {"cifar10": {"SA": 80.0}}}, {"name": "b", "recipe": "x"}]
    svg = drawn(study(row=rows, figure=[{"kind": "bars", "columns": ["SA"], "caption": "Said."}]))
    assert "a: SA 10.00 [0.00, 100.00]; b: SA 20.00" in svg
    assert all(f">{text}<" in svg for text in ("a", "b", "SA (%)", "paper, cifar10"))


def test_the_silhouette_marks_the_chosen_number(tmp_path: Path) -> None:
    entry = {"stage": "robust", "grid": [5, 10], "score": [0.2, 0.3], "chosen": 10}
    (tmp_path / "results.json").write_text(
        json.dumps({"schema": 1, "rows": [], "silhouette": [entry]}), encoding="utf-8"
    )
    one = study(figure=[{"kind": "silhouette", "caption": "Said."}])
    svg = drawn(one, [(composed(tmp_path).planned[0], tmp_path)])
    assert ">K = 10<" in svg
    assert "robust from 0.2 to 0.3" in svg
