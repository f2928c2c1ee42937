"""Swept columns, representations, corruptions, transferred attacks and pictures of studies, and whole studies."""

from __future__ import annotations

import csv
import json
import shutil
import typing
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
import torch.nn.functional as F
from torch import Tensor

from robustcl.analysis.again import evaluate_again
from robustcl.analysis.measure import kept, sample
from robustcl.analysis.measure.run import MEASURES, MeasureQuestion, measure, take
from robustcl.errors import UsageError
from robustcl.evaluate.classifier import of_encoder
from robustcl.evaluate.journal import Journal
from robustcl.measures.catalogue import OF_FEATURES, OF_PREDICTIONS, VALUES
from robustcl.run.splits import open_splits
from robustcl.run.subjects import RunSubject
from robustcl.study import api
from robustcl.study.figures import figure, pictures
from robustcl.study.grammar import spots
from robustcl.study.grammar.columns import COLUMN, Perturbed, Representation, spread
from robustcl.study.grammar.figures import Map
from robustcl.study.grammar.study import Study
from robustcl.study.numbers import columns, measures, transfer
from robustcl.study.numbers.reading import Reading, is_answered, read_value, share
from robustcl.study.plan import grid
from robustcl.study.plan.setting import Setting
from robustcl.study.tables import table
from robustcl.train import store
from tests.shared import pixels, tiny
from tests.shared.tiny_study import study, tables

given = pixels.given

PGD = {"use": "pgd", "steps": 2, "step_size": "8/255"}


def composed(folder: Path, **changes: Any) -> api.Composed:
    (folder / "tiny.toml").write_text(tomli_w.dumps(tiny.tables()), encoding="utf-8")
    (folder / "study.toml").write_text(tomli_w.dumps(tables(**changes)), encoding="utf-8")
    return api.compose(str(folder / "study.toml"), Setting(budget="paper"))


# Sweeps ---------------------------------------------------------------------------------------------------------------

RA = {"name": "RA, {} eps", "use": "perturbed", "value": "accuracy", "attack": dict(PGD),
      "sweep": {"key": "times", "values": [0.5, 1, 2.0]}}  # fmt: skip


def test_a_swept_column_is_one_for_each_value() -> None:
    steps = RA | {"name": "RA, {} steps", "sweep": {"key": "attack.steps", "values": [1, 100]}}
    found = study(column=[RA, steps]).columns_of(study().row[0])
    assert [column.name for column in found] == [
        "RA, 0.5 eps",
        "RA, 1 eps",
        "RA, 2 eps",
        "RA, 1 steps",
        "RA, 100 steps",
    ]
    assert [column.times for column in found[:3]] == [0.5, 1, 2.0]  # type: ignore[union-attr]
    dumped = [column.attack.model_dump()["steps"] for column in found]  # type: ignore[union-attr]
    assert dumped == [2, 2, 2, 1, 100]
    assert PGD["steps"] == 2, "the table that was spread is as it was"


def test_a_row_changes_a_swept_column_by_its_own_name() -> None:
    rows = [
        {"name": "a", "recipe": "x"},
        {"name": "b", "recipe": "x", "column": {"RA, {} eps": {"attack": {"use": "pgd", "steps": 7}}}},
    ]
    one = study(row=rows, column=[RA])
    dumped = [[column.attack.model_dump()["steps"] for column in one.columns_of(row)] for row in one.row]  # type: ignore[union-attr]
    assert dumped == [[2, 2, 2], [7, 7, 7]]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"column": [RA | {"name": "RA"}]}, "column.RA: a column with a sweep, and no other, has {} in its name"),
        ({"column": [{"name": "SA {}"}]}, "column.SA {}: a column with a sweep, and no other, has {} in its name"),
        ({"column": [RA | {"sweep": {"key": "times", "values": [1, -1]}}]}, "times = -1 is not accepted"),
        ({"column": [RA | {"sweep": {"key": "tims", "values": [1]}}]}, "unknown key 'tims'"),
        ({"column": [RA | {"sweep": {"key": "times", "values": [1, 1.0]}}]}, "its columns are not those of the first"),
        ({"column": [RA], "figure": [{"kind": "sweep", "columns": ["RA, 1 eps"]}]}, "there is no column 'RA, 1 eps'"),
        ({"column": [RA], "figure": [{"kind": "bars", "columns": ["RA, 3 eps"]}]}, "there is no column 'RA, 3 eps'"),
        (
            {"column": [RA, RA | {"name": "x{}", "sweep": {"key": "times", "values": [1]}}],
             "figure": [{"kind": "scatter", "x": "x{}", "y": "RA, {} eps"}]},
            "'x{}' and 'RA, {} eps' are not swept over the same values",
        ),
        (
            {"row": [{"name": "a", "recipe": "x", "paper": {"cifar10": {"RA, eps": 1.0}}}], "column": [RA]},
            "row.a.paper.cifar10: there is no column 'RA, eps'",
        ),
        (
            {"column": [{"name": "t", "use": "transferred", "source": "fa", "attack": "fgsm"}]},
            "column.t.source: there is no row 'fa', did you mean 'far'?",
        ),
    ],
)  # fmt: skip
def test_faults_are_sentences(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        study(**changes)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_paper_may_report_what_is_not_swept_over_now() -> None:
    rows = [{"name": "a", "recipe": "x", "paper": {"cifar10": {"RA, 4 eps": 1.0, "RA, 1 eps": 2.0}}}]
    one = study(row=rows, column=[RA], data="cifar10")
    line = table.line(one, next(spots.points(one)), [], "cifar10")
    assert [cell.paper for cell in line.cells] == [None, 2.0, None]


def drawn(one: Study) -> str:
    """Draw the first figure; the lines' cells are 1, 2, 3, ... percent, row after row."""
    lines, count = [], 0
    for spot in spots.points(one):
        readings: list[Reading | None] = []
        for _ in one.columns_of(spot.row):
            count += 1
            readings.append(Reading(0.01 * count))
        lines.append(table.line(one, spot, [readings], "cifar10"))
    (drawing,) = figure.draw_all(one, lines, [], "cifar10")
    return str(drawing.svg)


def test_a_sweep_is_drawn_along_its_values() -> None:
    svg = drawn(study(column=[{"name": "SA"}, RA], figure=[{"kind": "sweep", "columns": ["RA, {} eps"]}]))
    # near: SA 1, RA 2, 3, 4; far: SA 5, RA 6, 7, 8.
    assert "RA (%): near from 2 to 4, far from 6 to 8" in svg
    assert all(f">{text}<" in svg for text in ("near", "far", "RA (%)", "eps"))


def test_a_sweep_over_names_shows_the_names() -> None:
    column = {"name": "{}", "use": "corrupted", "sweep": {"key": "corruption", "values": ["fog", "snow"]}}
    svg = drawn(study(column=[column], figure=[{"kind": "sweep", "columns": ["{}"]}]))
    assert all(f">{text}<" in svg for text in ("fog", "snow"))


def test_a_scatter_pairs_equal_values_of_two_sweeps() -> None:
    other = RA | {"name": "drop, {} eps", "value": "drop"}
    one = study(column=[RA, other], figure=[{"kind": "scatter", "x": "RA, {} eps", "y": "drop, {} eps"}])
    lines = []
    for spot in spots.points(one):
        cells = [Reading(0.01 * place) for place in range(1, 7)]
        lines.append(table.line(one, spot, [cells], ""))
    (panel,) = [figure._against(one, one.figure[0], lines)]  # type: ignore[arg-type]
    # RA is in percent (1, 2, 3), drop as well (4, 5, 6).
    assert [(curve.x, curve.y) for curve in panel.curves] == [((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))] * 2
    assert (panel.x, panel.y) == ("RA (%)", "drop (%)")


# Representations ------------------------------------------------------------------------------------------------------


class Seen:
    """A sample whose features and logits are given; the training images have the same clean features."""

    block, index, subject = 9, torch.arange(4), SimpleNamespace(model="m")

    def __init__(self, clean: Tensor, moved: Tensor, logits: Tensor, label: Tensor) -> None:
        self.features, self.logits, self.label = (clean, moved), (logits, logits), label
        self.train, self.labels = self, label

    def batches(self, blocks: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        return [(rows, self.features[0][rows]) for rows in blocks]

    def embed(self, x: Tensor, layer: str) -> Tensor:
        return x

    def told(self, *progress: object) -> None:
        pass


def taken(folder: Path, of: Any, *values: str) -> dict[str, Reading | None]:
    """Return values as a study reads them of what the engine keeps."""
    entry = take(folder, {}, list(dict.fromkeys(VALUES[value][0] for value in values)), of)
    assert all(is_answered(entry, value) for value in values)
    return {value: read_value(entry, value) for value in values}


def test_every_value_is_a_number_of_a_measure() -> None:
    for kind, values in ((Perturbed, OF_PREDICTIONS), (Representation, OF_FEATURES)):
        assert typing.get_args(kind.model_fields["value"].annotation) == values
    assert {name for name, _ in VALUES.values()} <= set(MEASURES)


def test_the_values_by_hand(tmp_path: Path) -> None:
    """Two classes on the axes; the attack turns the first image to the diagonal and leaves the others alone."""
    clean = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    moved = clean.clone()
    moved[0] = torch.tensor([1.0, 1.0])
    label = torch.tensor([0, 0, 1, 1])
    of_pixels = ("input-landscape", "weight-landscape", "components")
    asked = [value for value in OF_FEATURES if VALUES[value][0] not in of_pixels]
    told = taken(tmp_path, Seen(clean, moved, torch.zeros(4, 2), label), *asked)
    found = {value: reading.value for value, reading in told.items() if reading is not None}
    assert set(found) == set(asked)
    d = 1 - 0.5**0.5
    # Anchor 0 against clean 1 and moved 1: 0, 0. Anchor 1 against clean 0 and moved 0: 0, d. Class 1: all 0.
    assert found["intra-divergence"] == pytest.approx(d / 2 / 4)
    # Class 0 against class 1: all at 1. Anchors 2 and 3 against clean 0, clean 1, moved 0 (at d), moved 1.
    assert found["inter-divergence"] == pytest.approx((1 + 1 + 2 * (3 + d) / 4) / 4)
    assert found["relative-divergence"] == pytest.approx(found["intra-divergence"] / found["inter-divergence"])
    assert found["feature-divergence"] == pytest.approx(d / 4)
    assert found["alignment"] == pytest.approx((2 - 2 * 0.5**0.5) / 4), "the mean squared distance of unit rows"
    # Of the moved ones: pairs within are at d and 0, pairs between at d, d, 1, 1.
    assert found["class-ratio"] == pytest.approx(((2 * d + 2) / 4) / (d / 2))
    distances = [2 * d, 2 * d, 2 * d, 2.0, 2.0, 0.0]
    potentials = torch.tensor([-2 * x for x in distances], dtype=torch.float64).exp()
    assert found["uniformity"] == pytest.approx(float(potentials.mean().log()))
    # Silhouettes before: 1 for all. After: image 0 (d - d) / d = 0, image 1 (1 - d) / 1, the others (b - 0) / b = 1.
    assert found["silhouette"] == pytest.approx((0 + (1 - d) + 1 + 1) / 4)
    assert found["silhouette-drop"] == pytest.approx(1 - found["silhouette"])
    assert found["entropy"] == pytest.approx(torch.tensor(2.0).log().item())
    size = torch.linalg.svdvals(moved.double())
    share = size / size.sum()
    assert found["effective-rank"] == pytest.approx(float((-(share * share.log()).sum()).exp()))
    assert found["linear-separability"] in (0.75, 1.0), "fitted to clean features, judged on moved ones"


def test_divergences_of_mini_batches_by_loops(tmp_path: Path) -> None:
    """Anchor, positives and negatives are of one block of 128 consecutive images; the mean is over all anchors."""
    draw = torch.Generator().manual_seed(0)
    clean, moved = (torch.randn(150, 3, generator=draw, dtype=torch.float64) for _ in range(2))
    label = torch.arange(150) % 4
    values = [f"{part}-divergence{end}" for part in ("intra", "inter", "relative") for end in ("", "-128")]
    told = taken(tmp_path, Seen(clean, moved, torch.zeros(150, 4), label), *values)
    means: dict[bool, list[float]] = {True: [], False: []}
    for anchor in range(150):
        block = [other for other in range(150) if other // 128 == anchor // 128 and other != anchor]
        for same, found in means.items():
            others = [other for other in block if bool(label[other] == label[anchor]) is same]
            distances = [1 - F.cosine_similarity(clean[anchor], view[other], dim=0) for other in others
                         for view in (clean, moved)]  # fmt: skip
            found.append(float(sum(distances)) / len(distances))
    intra, inter = (sum(means[same]) / 150 for same in (True, False))
    for value, by_hand in (("intra", intra), ("inter", inter), ("relative", intra / inter)):
        reading = told[f"{value}-divergence-128"]
        assert reading is not None
        assert reading.value == pytest.approx(by_hand, abs=1e-9)
        whole = told[f"{value}-divergence"]
        assert whole is not None
        assert abs(whole.value - by_hand) > 1e-6, "the sets of all images are others"


def test_features_that_say_nothing_leave_an_empty_cell(tmp_path: Path) -> None:
    of = Seen(torch.ones(4, 2), torch.ones(4, 2), torch.zeros(4, 2), torch.tensor([0, 0, 1, 1]))
    found = taken(tmp_path, of, "relative-divergence", "linear-separability", "uniformity")
    assert found["relative-divergence"] is None, "0 / 0"
    assert found["linear-separability"] is None, "collapsed"
    assert found["uniformity"] == Reading(0.0)


@pytest.mark.parametrize("block", [1, 3, 9])
def test_accuracy_and_relative_drop_by_hand(block: int, given: list[tuple[int, bool]], tmp_path: Path) -> None:
    # Right before: 0, 1, 3. After: 0.45 stays right, 0.55 is fooled, 1.25 stays right.
    found = taken(tmp_path, pixels.sample(block=block), "accuracy", "relative-drop")
    assert found["relative-drop"] == Reading(1 / 3, n=4)
    assert found["accuracy"] == share(2, 4)
    assert given == [(0, False), (1, False), (3, False)], "as in evaluation: what is wrong as it is, is not attacked"


def test_representations_attack_every_image_to_the_end(given: list[tuple[int, bool]]) -> None:
    of = pixels.sample(block=3)
    clean, after = of.features
    assert given == [(0, True), (1, True), (2, True), (3, True)]
    assert after[:, 0].tolist() == pytest.approx([0.45, 0.55, 0.65, 1.25])
    assert clean[:, 0].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.9])
    assert of.moved[:, 0].tolist() == pytest.approx([0.45, 0.55, 0.65, 1.25])
    assert len(given) == 4, "once for all measures"


def test_few_attacked_images_are_kept(given: list[tuple[int, bool]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "SHOWN", 3)
    of = pixels.sample(block=2)
    assert of.moved[:, 0].tolist() == pytest.approx([0.45, 0.55, 0.65])
    assert len(of.features[1]) == 4


def test_one_question_for_all_values_of_the_same_images() -> None:
    def alike(**changes: Any) -> bool:
        one, other = ({"name": "x", "use": "perturbed", "value": "accuracy", "attack": {"use": "pgd"}} | change
                      for change in ({}, changes))  # fmt: skip
        return measures._alike(COLUMN.validate_python(one), COLUMN.validate_python(other))  # type: ignore[arg-type]

    assert alike(value="fooled")
    assert alike(name="y", use="representation", value="alignment")
    assert not alike(times=2)
    assert not alike(threat={"norm": "L2", "eps": 0.1})
    assert not alike(route="adv")
    assert not alike(attack={"use": "pgd", "steps": 7})


# A whole study of everything ------------------------------------------------------------------------------------------

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
    made = composed(folder, column=COLUMNS, figure=FIGURES, set=FIXED)
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
    real = Journal._read

    def counted(journal: Journal) -> None:
        read.append(journal.path)
        real(journal)

    monkeypatch.setattr(Journal, "_read", counted)
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


def judged(outcome: api.FinishedStudy, run: grid.Planned) -> Any:
    encoder = store.load(store.stage_folder(outcome.path / "runs" / run.folder, "evaluate-slf-adv-robust"))
    return of_encoder(encoder, "adv")


def opened(made: api.Composed, folder: Path) -> RunSubject:
    plan = made.planned[0].composition
    return measures.open_subject(folder, plan, (plan.evaluations[0], "adv"))


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

    monkeypatch.setattr(measures, "answer", never)
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
        composed(tmp_path, column=[{"name": "x", **column}], set=FIXED)
    assert said in str(raised.value)


def test_a_source_that_looks_at_other_data_is_refused(tmp_path: Path) -> None:
    rows = tables()["row"]
    rows[1]["set"] = {"data.use": "cifar10"}
    with pytest.raises(UsageError, match="the row 'far' has another data set; give both the same"):
        composed(tmp_path, row=rows, column=[{"name": "x", "use": "transferred", "source": "far", "attack": "fgsm"}])


def test_spread_leaves_other_columns_alone() -> None:
    assert spread({"name": "SA", "use": "accuracy"}) == [{"name": "SA", "use": "accuracy"}]


def test_a_corruption_is_the_mean_over_its_severities(tmp_path: Path) -> None:
    run = composed(tmp_path).planned[0]
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
    run = composed(tmp_path).planned[0]
    (tmp_path / "results.json").write_text(json.dumps({"schema": 1, "rows": []}), encoding="utf-8")
    assert columns.read([COLUMN.validate_python({"name": "x", "use": "corrupted"})], run, tmp_path) == [None]


# Studies that ship, run for real --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "overrides", "pictures", "some"),
    [
        ("gupta-figure-2", ("evaluate.0.audit=0",), 2, {"class ratio", "uniformity", "silhouette"}),
        (
            "ascl-bui-figure-4",
            ("evaluate.own.samples=32", "evaluate.own.audit=0", "data.validation=0.8"),
            1,
            {"R-DIV, 0.5 eps", "R-DIV, 1 eps", "RA, 1 eps"},
        ),
        (
            "gupta-table-1",
            ("evaluate.0.samples=24", "evaluate.0.audit=0", "data.validation=0.8"),
            1,
            {"PGD L2, drop", "PGD L1", "AA, eps/8, drop"},
        ),
    ],
)
def test_studies_run_at_the_smallest_budget(
    name: str, overrides: tuple[str, ...], pictures: int, some: set[str], tmp_path: Path
) -> None:
    made = api.compose(name, Setting(budget="smoke", overrides=overrides))
    outcome = api.run(made, tmp_path / "out", device="cpu")
    assert not outcome.failed
    for line in outcome.lines:
        found = {cell.column: cell.mean for cell in line.cells}
        assert some <= set(found)
        assert all(found[column] is not None for column in some)
    assert (tmp_path / "out" / "study.html").read_text(encoding="utf-8").count("<svg") == pictures
    assert any(cell.paper is not None for line in outcome.lines for cell in line.cells)


def test_a_picture_that_cannot_be_had_says_why(whole: tuple[api.Composed, api.FinishedStudy]) -> None:
    made, outcome = whole
    run = made.planned[0]
    few = Map.model_construct(kind="map", images=3)  # so many as an evaluation of three images leaves
    with pytest.raises(UsageError, match="3 rows of features are too few"):
        pictures.draw_pictures("map", few, [(run, outcome.path / "runs" / run.folder)])
