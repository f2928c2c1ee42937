"""The columns of a study, read from its runs and measured of them; a whole study of everything, with its pictures."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from robustcl.analysis.again import evaluate_again
from robustcl.analysis.measure import kept
from robustcl.analysis.measure.run import MeasureQuestion, measure
from robustcl.errors import UsageError
from robustcl.evaluate.classifier import of_encoder
from robustcl.evaluate.journal import Journal
from robustcl.run.splits import open_splits
from robustcl.run.subjects import RunSubject
from robustcl.study import api
from robustcl.study.figures import pictures
from robustcl.study.grammar.columns import COLUMN
from robustcl.study.grammar.figures import Map
from robustcl.study.numbers import columns, questions, transfer
from robustcl.study.numbers.reading import read_value
from robustcl.study.plan.planned import Planned
from robustcl.train import stage_files
from tests.shared.tiny_study import PGD, RA, compose_plain, compose_smoke, study, tables

COLUMNS = [
    {"name": "SA"},
    RA,
    {"name": "R-DIV", "use": "representation", "value": "relative-divergence", "attack": PGD},
    {"name": "drop", "use": "perturbed", "value": "drop", "attack": PGD},
    {"name": "separable", "use": "representation", "value": "linear-separability"},
    {"name": "uniformity", "use": "representation", "value": "uniformity"},
    {"name": "L2", "use": "perturbed", "value": "accuracy", "attack": PGD, "threat": {"norm": "L2", "eps": 0.1}},
    {"name": "from {}", "use": "transferred", "source": "near", "attack": "fgsm", "times": 8.0,
     "sweep": {"key": "source", "values": ["near", "far"]}},
    {"name": "fog", "use": "corrupted", "corruption": "fog"},
    {"name": "all", "use": "corrupted"},
    {"name": "lost", "use": "corrupted", "value": "relative-drop"},
    {"name": "CE", "use": "corrupted", "corruption": "fog", "value": "corruption-error", "baseline": "near"},
    {"name": "mCE", "use": "corrupted", "value": "corruption-error", "baseline": "near"},
]  # fmt: skip


FIGURES = [
    {"kind": "sweep", "columns": ["RA, {} eps"]},
    {"kind": "scatter", "x": "R-DIV", "y": "SA"},
    {"kind": "landscape", "points": 3, "images": 6, "times": 2.0},
    {"kind": "map", "images": 12},
    {"kind": "map", "images": 12, "attack": PGD, "attacked": 5, "entropy": True},
    {"kind": "weight-landscape", "attack": "fgsm", "points": 3, "images": 6},
    {"kind": "components", "images": 2, "count": 3, "steps": 4},
    {"kind": "classes"},
]


FIXED = {
    "stage.robust.epochs": 1, "evaluate.slf.samples": 100, "evaluate.slf.attacks": [], "evaluate.slf.route": ["adv"],
    "evaluate.slf.corruptions": {"names": ["fog", "contrast"], "severities": [1, 5]},
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[api.Composed, api.FinishedStudy]:
    folder = tmp_path_factory.mktemp("columns")
    made = compose_plain(folder, column=COLUMNS, figure=FIGURES, set=FIXED)
    return made, api.run(made, folder / "out", device="cpu")


def cells(outcome: api.FinishedStudy, row: int) -> dict[str, float | None]:
    return {cell.column: cell.mean for cell in outcome.lines[row].cells}


def test_a_journal_is_parsed_once_for_all_columns_of_a_run(
    whole: tuple[api.Composed, api.FinishedStudy], monkeypatch: pytest.MonkeyPatch
) -> None:
    composed, outcome = whole
    run = composed.planned[0]
    asked = [column for column in composed.study.columns_of(run.row) if column.use in ("accuracy", "corrupted")]
    asked = asked * 3
    read: list[Path] = []
    real = Journal.follow

    def counted(journal: Journal) -> None:
        read.append(journal.path)
        real(journal)

    monkeypatch.setattr(Journal, "follow", counted)
    folder = outcome.path / "runs" / run.folder
    found = columns.read(asked, run, folder)
    assert read == [folder / "journal.jsonl"]
    assert found == [reading for column in asked for reading in columns.read([column], run, folder)]
    assert any(reading is not None for reading in found)


def test_corruptions_come_from_the_results(whole: tuple[api.Composed, api.FinishedStudy]) -> None:
    made, outcome = whole
    first: dict[str, float] = {}
    for row, run in enumerate(made.planned):
        results = json.loads((outcome.path / "runs" / run.folder / "results.json").read_text(encoding="utf-8"))
        (entry,) = results["corruptions"]
        found = cells(outcome, row)
        assert found["fog"] == pytest.approx(100 * sum(entry["accuracy"]["fog"]) / 2)
        assert found["all"] == pytest.approx(100 * entry["mean"])
        assert found["lost"] == pytest.approx(100 * (1 - 100 * entry["mean"] / found["SA"]))
        errors = {name: sum(1 - share for share in shares) for name, shares in entry["accuracy"].items()}
        first = errors if row == 0 else first
        ratios = {name: errors[name] / first[name] for name in errors}
        assert found["CE"] == pytest.approx(100 * ratios["fog"])
        assert found["mCE"] == pytest.approx(100 * sum(ratios.values()) / 2)
        assert (found["mCE"] == 100) == (row == 0)


def judged(outcome: api.FinishedStudy, run: Planned) -> Any:
    encoder = stage_files.load(stage_files.stage_folder(outcome.path / "runs" / run.folder, "evaluate-slf-adv-robust"))
    return of_encoder(encoder, "adv")


def opened(made: api.Composed, folder: Path) -> RunSubject:
    plan = made.planned[0].composition
    return questions.open_subject(folder, plan, (plan.evaluations[0], "adv"))


def test_a_transferred_attack_by_hand(whole: tuple[api.Composed, api.FinishedStudy]) -> None:
    """FGSM draws nothing, so that one step of plain torch makes the same images."""
    made, outcome = whole
    near, far = (judged(outcome, run) for run in made.planned)
    test = open_splits(made.planned[0].composition, torch.device("cpu"), test=True).test
    assert test is not None
    x, label = test.fetch(torch.arange(100)), test.labels[:100]
    x.requires_grad_()
    loss = F.cross_entropy(near.embed(x, frozenset({"logits"})).logits, label, reduction="sum")
    (slope,) = torch.autograd.grad(loss, x)
    moved = (x.detach() + 64 / 255 * slope.sign()).clamp(0, 1)
    assert cells(outcome, 1)["from near"] == pytest.approx(100 * float((far.predict(moved) == label).double().mean()))
    assert cells(outcome, 0)["from near"] is None, "a model against itself is no transfer"
    assert cells(outcome, 1)["from far"] is None
    assert cells(outcome, 0)["from far"] is not None


def test_clean_columns_are_of_clean_images(whole: tuple[api.Composed, api.FinishedStudy]) -> None:
    from robustcl.measures import linear_separability, uniformity

    made, outcome = whole
    classifier = judged(outcome, made.planned[0])
    folder = outcome.path / "runs" / made.planned[0].folder
    run = opened(made, folder)
    features = classifier.features(run.test.fetch(torch.arange(100)))
    train = classifier.features(run.splits.train.fetch(torch.arange(run.splits.train.samples)))
    found = cells(outcome, 0)
    assert found["uniformity"] == pytest.approx(uniformity(features), rel=1e-5)
    fitted = linear_separability(train, run.splits.train.labels, features, run.test.labels[:100])
    assert found["separable"] == pytest.approx(100 * fitted.test, abs=1.01)


def test_a_larger_ball_leaves_no_more_standing(whole: tuple[api.Composed, api.FinishedStudy]) -> None:
    _, outcome = whole
    found = cells(outcome, 0)
    values = [found[name] or 0.0 for name in ("SA", "RA, 0.5 eps", "RA, 1 eps", "RA, 2 eps")]
    assert values == sorted(values, reverse=True)
    assert (found["L2"] or 0.0) <= values[0], "in a ball of its own"


def entries(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / kept.FILE).read_text(encoding="utf-8"))["entries"]
    return found


def test_what_is_asked_of_the_same_images_is_measured_at_once(
    whole: tuple[api.Composed, api.FinishedStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, outcome = whole
    asked = [entry for entry in entries(outcome.path / "runs" / made.planned[0].folder) if "r-div" in entry["values"]]
    assert [set(entry["values"]) for entry in asked] == [{"r-div", "fooled", "relative-drop"}]


def test_what_an_earlier_version_measured_is_not_read_and_said(
    whole: tuple[api.Composed, api.FinishedStudy], tmp_path: Path
) -> None:
    made, outcome = whole
    shutil.copytree(outcome.path, tmp_path / "out")
    mine = tmp_path / "out" / "runs" / made.planned[0].folder
    question = {"attack": {"use": "none"}, "times": 1.0, "targets": None, "use": "perturbed", "route": "adv"}
    older = {"x": {"question": question, "uniformity": {"value": -7.0, "low": None, "high": None, "n": None}}}
    (mine / "measures.json").write_text(json.dumps(older))
    again = api.run(made, tmp_path / "out", device="cpu")
    assert again.records() == outcome.records()
    said = f"runs/{mine.name}/measures.json is of an earlier version: what stands here was measured anew"
    assert [note for note in again.notes if "earlier version" in note] == [said]
    assert said in (tmp_path / "out" / "study.md").read_text(encoding="utf-8")
    assert json.loads((mine / "measures.json").read_text()) == older, "left as it is"


@pytest.fixture
def alone(whole: tuple[api.Composed, api.FinishedStudy], tmp_path: Path) -> Path:
    """A copy of a study's run, of which nothing was measured so far."""
    made, outcome = whole
    shutil.copytree(outcome.path / "runs" / made.planned[0].folder, tmp_path / "alone")
    (tmp_path / "alone" / kept.FILE).unlink()
    return tmp_path / "alone"


def test_whoever_asks_gets_the_same_answer_to_the_bit(
    whole: tuple[api.Composed, api.FinishedStudy], alone: Path
) -> None:
    made, outcome = whole
    attack = '{ use = "pgd", steps = 2, step_size = "8/255" }'
    by_itself = measure(alone, ["r-div", "fooled"], MeasureQuestion(attack=attack))
    (of_study,) = (entry for entry in entries(outcome.path / "runs" / made.planned[0].folder)
                   if "r-div" in entry["values"])  # fmt: skip
    assert by_itself["question"] == of_study["question"]
    assert by_itself["values"]["r-div"]["relative"] == cells(outcome, 0)["R-DIV"]
    assert by_itself["values"]["fooled"]["probability"] * 100 == cells(outcome, 0)["drop"]
    table = evaluate_again(alone, attacks=[attack], audit=0).results.tables
    (row,) = (row for row in table["rows"] if (row["split"], row["attack"]) == ("test", "pgd"))
    assert row["value"] * 100 == cells(outcome, 0)["RA, 1 eps"], "nor is what evaluation says another number"


def test_a_drawn_sample_is_another_question(alone: Path) -> None:
    drawn, judged = (measure(alone, ["uniformity"], MeasureQuestion(attack="fgsm", samples=samples))
                     for samples in (100, None))  # fmt: skip
    assert (drawn["question"]["samples"], drawn["question"]["sample"]) == (100, "drawn 100")
    assert (judged["question"]["samples"], judged["question"]["sample"]) == (100, "first 100")
    assert drawn["values"] != judged["values"]
    assert len(entries(alone)) == 2


def test_nothing_is_measured_twice(
    whole: tuple[api.Composed, api.FinishedStudy], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, outcome = whole

    def never(*args: Any) -> None:
        raise AssertionError("nothing was missing")

    monkeypatch.setattr(questions, "answer", never)
    monkeypatch.setattr(transfer, "open_subject", never)
    assert api.run(made, outcome.path, device="cpu").records() == outcome.records()


def test_the_pictures_hold_what_was_measured(whole: tuple[api.Composed, api.FinishedStudy]) -> None:
    made, outcome = whole
    folder, figures = outcome.path / "runs" / made.planned[0].folder, {}
    for entry in entries(folder):
        for name, options in entry["question"].get("options", {}).items():
            figures[name, "attacked" in options] = kept.find_arrays(folder, entry, name)
    run = opened(made, folder)
    x, label = run.test.fetch(torch.arange(6)), run.test.labels[:6]
    logits = run.classifier.embed(x, frozenset({"logits"})).logits
    loss = F.cross_entropy(logits, label)
    surface = figures["input-landscape", False]
    assert surface["axis"] == pytest.approx([-2 * float(run.ball.eps), 0.0, 2 * float(run.ball.eps)])
    assert surface["loss"][1][1] == pytest.approx(loss.item(), rel=1e-4)
    sizes = {
        moved: [len(figures["t-sne", moved][key]) for key in ("clean", "label", "clean_entropy", "attacked")]
        for moved in (False, True)
    }
    assert sizes == {False: [12, 12, 12, 12], True: [12, 12, 12, 5]}
    sure = torch.from_numpy(figures["t-sne", True]["clean_entropy"][:6])
    doubt = -(logits.softmax(1) * logits.log_softmax(1)).sum(1)
    torch.testing.assert_close(sure.double(), doubt.double(), rtol=1e-4, atol=1e-6)
    assert not np.array_equal(figures["t-sne", True]["attacked_entropy"], figures["t-sne", True]["clean_entropy"][:5])
    page = (outcome.path / "study.html").read_text(encoding="utf-8")
    assert page.count("<svg") == len(FIGURES)
    assert "12 images, entropy" in page
    assert "and 5 attacked, entropy" in page
    assert all(name in page for name in ("RA, 0.5 eps", "from far"))
    with (outcome.path / "study.csv").open(encoding="utf-8", newline="") as file:
        assert "from near" in {row["column"] for row in csv.DictReader(file)}


def test_the_loss_over_the_weights_begins_at_those_of_the_run(
    whole: tuple[api.Composed, api.FinishedStudy],
) -> None:
    made, outcome = whole
    folder = outcome.path / "runs" / made.planned[0].folder
    (entry,) = (entry for entry in entries(folder) if "weight-landscape" in entry["question"].get("options", ()))
    curves, run = kept.find_arrays(folder, entry, "weight-landscape"), opened(made, folder)
    x, label = run.test.fetch(torch.arange(6)), run.test.labels[:6]
    loss = F.cross_entropy(run.classifier.embed(x, frozenset({"logits"})).logits, label)
    assert curves["axis"].tolist() == [-0.5, 0.0, 0.5]
    assert curves["clean"][1] == pytest.approx(loss.item(), rel=1e-4)
    assert curves["attacked"][1] > curves["clean"][1], "the images of the second curve were moved"
    assert entry["question"]["attack"]["use"] == "fgsm"
    read = read_value(entry, "weight-rise")
    assert read is not None
    assert read.value == entry["values"]["weight-landscape"]["rise"]["attacked"]


def test_components_grow_from_images_and_from_noise(whole: tuple[api.Composed, api.FinishedStudy]) -> None:
    made, outcome = whole
    folder = outcome.path / "runs" / made.planned[0].folder
    (entry,) = (entry for entry in entries(folder) if "components" in entry["question"].get("options", ()))
    found, run = kept.find_arrays(folder, entry, "components"), opened(made, folder)

    def features(x: Any) -> Tensor:
        return run.classifier.embed(torch.as_tensor(x), frozenset({"h"})).h.double()

    h = features(run.test.fetch(torch.arange(100)))
    deviations = sorted(((h[:, i] - h[:, i].mean()).pow(2).mean().item(), i) for i in range(h.shape[1]))
    assert found["component"].tolist() == [i for _, i in deviations[::-1][:3]]
    assert found["found"].shape == (3, 3, *found["seed"].shape[1:]), "two images and noise; three components"
    first = {int(label): place for place, label in reversed(list(enumerate(run.test.labels[:100])))}
    for place in (0, 1):
        assert torch.equal(torch.as_tensor(found["seed"][place]), run.test.fetch(torch.tensor([first[place]]))[0])
    added = []
    for line in range(3):
        for column, i in enumerate(found["component"].tolist()):
            assert features(found["seed"])[line, i].item() == pytest.approx(found["start"][line, column], abs=1e-4)
            reached = features(found["found"][line])[column, i].item()
            assert reached == pytest.approx(found["reached"][line, column], abs=1e-4)
            assert reached > found["start"][line, column]
            added.append((i, (found["found"][line, column] - found["seed"][line]).ravel()))
    cosines = [a @ b / (a @ a * (b @ b)) ** 0.5 for i, a in added for j, b in added if i == j and a is not b]
    assert entry["values"]["components"]["agreement"] == pytest.approx(sum(cosines) / len(cosines), rel=1e-4)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ({"use": "corrupted", "corruption": "fgo"}, "the recipe is not judged on 'fgo', did you mean 'fog'?"),
        ({"use": "corrupted", "corruption": "snow"}, "not judged on 'snow'"),
        ({"use": "transferred", "source": "far", "attack": "deacl"}, "deacl reads "),
        ({"use": "representation", "value": "alignment", "attack": "ncp"}, "ncp reads clusters; add targets"),
        (
            {"use": "perturbed", "value": "drop", "attack": "fgsm", "threat": {"norm": "L3", "eps": 1}},
            "column 'x'.threat: the norm 'L3' is not known",
        ),
    ],
)
def test_a_column_that_the_runs_cannot_have_is_refused(tmp_path: Path, column: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        compose_plain(tmp_path, column=[{"name": "x", **column}], set=FIXED)
    assert said in str(raised.value)


def test_a_source_that_looks_at_other_data_is_refused(tmp_path: Path) -> None:
    rows = tables()["row"]
    rows[1]["set"] = {"data.use": "cifar10"}
    with pytest.raises(UsageError, match="the row 'far' has another data set; give both the same"):
        compose_plain(
            tmp_path, row=rows, column=[{"name": "x", "use": "transferred", "source": "far", "attack": "fgsm"}]
        )


def test_a_corruption_is_the_mean_over_its_severities(tmp_path: Path) -> None:
    run = compose_plain(tmp_path).planned[0]
    entry = {"protocol": "slf", "route": "clean", "accuracy": {"fog": [0.5, 0.2], "snow": [0.9, 0.8]}, "mean": 0.6}
    other = entry | {"route": "adv", "accuracy": {"fog": [0.0, 0.0], "snow": [0.0, 0.0]}, "mean": 0.0}
    (tmp_path / "results.json").write_text(
        json.dumps({"schema": 1, "rows": [], "corruptions": [other, entry]}), encoding="utf-8"
    )
    found = {}
    for name in ("fog", "snow", "mean"):
        column = COLUMN.validate_python({"name": "x", "use": "corrupted", "corruption": name})
        (reading,) = columns.read([column], run, tmp_path)
        assert reading is not None
        found[name] = reading.value
    assert found == pytest.approx({"fog": 0.35, "snow": 0.85, "mean": 0.6})


def test_a_run_without_the_entry_has_an_empty_cell(tmp_path: Path) -> None:
    run = compose_plain(tmp_path).planned[0]
    (tmp_path / "results.json").write_text(json.dumps({"schema": 1, "rows": []}), encoding="utf-8")
    assert columns.read([COLUMN.validate_python({"name": "x", "use": "corrupted"})], run, tmp_path) == [None]


def test_a_picture_that_cannot_be_had_says_why(whole: tuple[api.Composed, api.FinishedStudy]) -> None:
    made, outcome = whole
    run = made.planned[0]
    few = Map.model_construct(kind="map", images=3)  # so many as an evaluation of three images leaves
    with pytest.raises(UsageError, match="3 rows of features are too few"):
        pictures.draw_pictures("map", few, [(run, outcome.path / "runs" / run.folder)])


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
    run = compose_smoke(tmp_path).planned[0]
    assert columns.epochs(run, tmp_path, "robust", "loss") == columns.Curve("loss", (1.0, 2.0, 3.0), (6.0, 1.0, 2.0))
    found = {}
    for over in ("first epoch", "last epoch", "all epochs"):
        column = study(column=[{"name": "x", "use": "metric", "metric": "loss", "over": over}]).column[0]
        (reading,) = columns.read([column], run, tmp_path)
        assert reading is not None
        found[over] = reading.value
    assert found == {"first epoch": 6.0, "last epoch": 2.0, "all epochs": 3.0}
