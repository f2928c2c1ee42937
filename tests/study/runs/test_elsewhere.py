"""Studies on a second data set: its lines, the runs that it shares, and numbers that are those of ``evaluate``."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from click.testing import CliRunner

from robustcl.analysis.again import Wanted
from robustcl.analysis.other_data import evaluate_elsewhere
from robustcl.cli.study import command
from robustcl.errors import UsageError
from robustcl.study import api
from robustcl.study.grammar import spots
from robustcl.study.grammar.parsing import parse
from robustcl.study.grammar.study import Study
from robustcl.study.plan.setting import Setting
from robustcl.study.runs import elsewhere
from robustcl.study.tables import table
from robustcl_plugins.datasets.digits import Digits
from tests.shared import tiny

LOW, HIGH = [0, 1, 2, 3, 4], [5, 6, 7, 8, 9]
ROWS: list[dict[str, Any]] = [
    {"name": "there", "recipe": "tiny.toml", "on": "other"},
    {"name": "moved", "recipe": "tiny.toml", "set": {"data.only": LOW}},
]
COLUMNS: list[dict[str, Any]] = [
    {"name": "SA", "on": "other", "route": "adv"},
    {"name": "RA", "on": "other", "route": "adv", "attack": "fgsm"},
    {"name": "home", "route": "adv"},
]


def tables(**changes: Any) -> dict[str, Any]:
    other = [{"use": "digits", "only": HIGH}]
    return {"name": "two", "other": other, "row": ROWS, "column": COLUMNS} | changes


def study(**changes: Any) -> Study:
    return parse(tables(**changes), "the study two")


def composed(folder: Path, setting: Setting | None = None, **changes: Any) -> api.Composed:
    recipe = tiny.tables(budget={"smoke": {"stage.robust.epochs": 1, "data.batch": 64, "stage.robust.batch": 64}})
    (folder / "tiny.toml").write_text(tomli_w.dumps(recipe), encoding="utf-8")
    (folder / "two.toml").write_text(tomli_w.dumps(tables(**changes)), encoding="utf-8")
    return api.compose(str(folder / "two.toml"), setting or Setting(budget="smoke"))


def npz(path: Path, channels: int = 1, classes: int = 3) -> str:
    rng = np.random.default_rng(0)
    made: dict[str, Any] = {
        f"{letter}_{split}": value
        for split in ("train", "test")
        for letter, value in (
            ("x", rng.integers(0, 256, (64, channels, 8, 8), dtype=np.uint8)),
            ("y", np.arange(64) % classes),
        )
    }
    np.savez(path, **made)
    return f"npz:{path}"


# Digits in two parts --------------------------------------------------------------------------------------------------


def test_digits_are_split_by_class() -> None:
    whole = Digits().open("test")
    low, high = Digits(only=tuple(LOW)).open("test"), Digits(only=tuple(HIGH)).open("test")
    assert torch.equal(low.images, whole.images[whole.labels < 5])
    assert torch.equal(low.labels, whole.labels[whole.labels < 5])
    assert torch.equal(high.images, whole.images[whole.labels >= 5])
    assert torch.equal(high.labels, whole.labels[whole.labels >= 5] - 5)
    assert Digits(only=tuple(HIGH)).classes() == tuple("56789")


def test_labels_follow_the_order_of_the_digits() -> None:
    whole, two = Digits().open("train"), Digits(only=(8, 3)).open("train")
    assert torch.equal(two.labels, (whole.labels[(whole.labels == 8) | (whole.labels == 3)] == 3).long())
    pixels = two.images.double() / 255
    assert Digits(only=(8, 3)).statistics()[0] == pytest.approx([float(pixels.mean())])
    with pytest.raises(UsageError, match=r"data.only = \[8, 8\]: a digit is named twice"):
        Digits(only=(8, 8)).open("train")


# Grammar and grid -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"other": []}, "the study two: row.there is on another data set, and none is named; write other = "),
        ({"other": [], "row": ROWS[1:]}, "column.SA is on another data set, and none is named"),
        ({"row": ROWS[1:], "column": COLUMNS[2:]}, "no row and no column is on the other data set digits"),
        ({"other": ["stl10", "stl10"]}, "the other data set stl10 is named twice"),
        ({"row": [{"name": "x", "recipe": "a", "on": "own"}]}, "on = 'own' is not accepted; give 'data' or 'other'"),
    ],
)
def test_faults_are_sentences(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        study(**changes)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_every_row_is_repeated_for_each_data_set_and_trained_once(tmp_path: Path) -> None:
    others = [{"use": "digits", "only": HIGH}, {"use": "cifar10"}]
    rows = [ROWS[1]]
    found = composed(tmp_path, other=others, row=rows).planned
    assert [run.label for run in found] == [
        "moved, on digits (only = [5, 6, 7, 8, 9])", "moved, on cifar10",
    ]  # fmt: skip
    assert {run.folder for run in found} == {"moved-seed0"}, "one encoder for both"
    folders = [run.elsewhere.folder for run in found if run.elsewhere is not None]
    assert [name.rpartition("-")[0] for name in folders] == ["transfer-digits", "transfer-cifar10"]
    assert [run.point for run in found] == [{"on": "digits (only = [5, 6, 7, 8, 9])"}, {"on": "cifar10"}]


def test_a_row_on_the_other_data_set_is_trained_there(tmp_path: Path) -> None:
    there, moved = composed(tmp_path).planned
    assert there.composition.dataset.plugin.only == tuple(HIGH)
    assert moved.composition.dataset.plugin.only == tuple(LOW)
    assert there.elsewhere is None
    assert moved.elsewhere is not None
    there, moved = composed(tmp_path, Setting(budget="smoke", others=["cifar10"])).planned
    assert there.composition.recipe.data.use == "cifar10"
    assert moved.composition.recipe.data.use == "digits"


def test_other_options_are_another_folder(tmp_path: Path) -> None:
    names = set()
    for other in ("digits", "{ use = 'digits', only = [5, 6] }", "{ use = 'digits', only = [5, 7] }"):
        moved = composed(tmp_path, Setting(budget="smoke", others=[other])).planned[1]
        assert moved.elsewhere is not None
        names.add(moved.elsewhere.folder)
    assert len(names) == 3


def test_only_what_is_asked_for_is_judged_there(tmp_path: Path) -> None:
    columns = [{"name": "ALF", "on": "other", "protocol": "alf"}, {"name": "home", "protocol": "slf"}]
    (run,) = composed(tmp_path, row=[{"name": "moved", "recipe": "rocl"}], column=columns).planned
    assert run.elsewhere is not None
    assert [run.composition.evaluations[place].table.use for place in run.elsewhere.places] == ["alf"]


@pytest.mark.parametrize(
    ("others", "said"),
    [
        (["digist"], "dataset called 'digist', did you mean 'digits'"),
        (["{ only = [5] }"], "--other-dataset { only = [5] }: name a data set, e.g. stl10"),
        (["{ use = 'digits', onyl = [5] }"], "onyl"),
        (["cifar10", "cifar10"], "the other data set cifar10 is named twice"),
    ],
)
def test_data_sets_that_cannot_be(others: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        composed(tmp_path, Setting(budget="smoke", others=others))
    assert said in str(raised.value)


def test_what_does_not_fit_is_told_before_a_directory_exists(tmp_path: Path) -> None:
    colour, grey = npz(tmp_path / "colour.npz", channels=3), npz(tmp_path / "grey.npz", classes=1)
    for other, said in (
        (
            colour,
            r"row 'moved': other: the images of .*colour.npz have the shape \(3, 8, 8\), and the encoder is trained on",
        ),
        (grey, "row 'moved': other: a classifier needs two classes or more"),
    ):
        made = composed(tmp_path, Setting(budget="smoke", others=[other]), row=ROWS[1:])
        with pytest.raises(UsageError, match=said):
            api.run(made, tmp_path / "out", device="cpu")
    own = {"name": "SA", "on": "other", "protocol": "own"}
    row = [{"name": "at", "recipe": "at", "set": {"data.only": LOW}}]
    three = npz(tmp_path / "three.npz")
    made = composed(tmp_path, Setting(budget="smoke", others=[three]), row=row, column=[own])
    with pytest.raises(UsageError, match=r"evaluate.own judges the run's own classifier of 5 classes, and .* has 3"):
        api.run(made, tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


# Running --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[api.Composed, api.FinishedStudy]:
    folder = tmp_path_factory.mktemp("two")
    less = ['evaluate.slf.route=["adv"]', "evaluate.slf.audit=0"]
    setting = Setting(budget="smoke", samples=50, overrides=less)
    papers = [row | {"paper": {"digits": {"SA": 90.0}, "stl10": {"SA": 70.0}}} for row in ROWS]
    made = composed(folder, setting, row=papers)
    return made, api.run(made, folder / "out", device="cpu")


def cells(outcome: api.FinishedStudy, row: int) -> dict[str, float | None]:
    return {cell.column: cell.mean for cell in outcome.lines[row].cells}


def rows_of(folder: Path) -> dict[str, float]:
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    wanted = [row for row in results["rows"] if (row["split"], row["route"]) == ("test", "adv")]
    assert {row["n"] for row in wanted} == {50}
    return {row["attack"] or "clean": 100 * row["value"] for row in wanted}


def test_the_numbers_are_those_of_evaluate(whole: tuple[api.Composed, api.FinishedStudy], tmp_path: Path) -> None:
    made, outcome = whole
    archive: dict[str, Any] = {}
    for split in ("train", "test"):  # the same images under another name
        source = Digits(only=tuple(HIGH)).open(split)
        archive |= {f"x_{split}": source.images.numpy(), f"y_{split}": source.labels.numpy()}
    np.savez(tmp_path / "high.npz", **archive)
    folder = outcome.path / "runs" / made.planned[1].folder
    again = evaluate_elsewhere(folder, f"npz:{tmp_path / 'high.npz'}", Wanted(), out=tmp_path / "again").path
    expected, found = rows_of(again), cells(outcome, 1)
    assert (found["SA"], found["RA"]) == pytest.approx((expected["clean"], expected["fgsm"]))
    assert found["home"] == pytest.approx(rows_of(folder)["clean"])
    assert found["SA"] != found["home"]


def test_a_row_trained_there_has_its_own_numbers(whole: tuple[api.Composed, api.FinishedStudy]) -> None:
    made, outcome = whole
    expected, found = rows_of(outcome.path / "runs" / made.planned[0].folder), cells(outcome, 0)
    assert found["SA"] == found["home"] == pytest.approx(expected["clean"])
    assert found["RA"] == pytest.approx(expected["fgsm"])


def test_the_papers_numbers_are_those_of_the_other_data_set(whole: tuple[api.Composed, api.FinishedStudy]) -> None:
    _, outcome = whole
    assert "paper, digits" in outcome.markdown()
    assert "judged on digits (only = [5, 6, 7, 8, 9])" in outcome.notes[0]
    with (outcome.path / "study.csv").open(encoding="utf-8", newline="") as file:
        records = [row for row in csv.DictReader(file) if row["column"] == "SA"]
    assert [(row["paper"], row["axis on"]) for row in records] == [("90.0", "digits (only = [5, 6, 7, 8, 9])")] * 2


def test_what_is_there_is_not_judged_again(
    whole: tuple[api.Composed, api.FinishedStudy], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, outcome = whole

    def never(*args: Any, **options: Any) -> None:
        raise AssertionError("nothing was missing")

    before = outcome.records()
    monkeypatch.setattr(elsewhere, "judged_on", never)
    assert api.run(made, outcome.path, device="cpu").records() == before
    # A run there that was cut off is resumed, not begun anew.
    run = made.planned[1]
    assert run.elsewhere is not None
    target = outcome.path / "runs" / run.folder / run.elsewhere.folder
    (target / "results.json").unlink()
    assert api.run(made, outcome.path, device="cpu").records() == before
    assert (target / "results.json").is_file()


def test_lines_of_several_data_sets_have_papers_of_their_own() -> None:
    papers = {"stl10": {"SA": 70.0}, "cifar100": {"SA": 50.0}}
    one = study(other=["stl10", "cifar100"], row=[ROWS[1] | {"paper": papers}], data="stl10")
    lines = [
        table.line(one, spot, [], table.find_published(one, spot.other))
        for spot in spots.points(one)
        if spot.other is not None
    ]
    assert [(line.label, line.cells[0].paper) for line in lines] == [
        ("moved, on stl10", 70.0),
        ("moved, on cifar100", 50.0),
    ]
    assert [row["paper_data"] for row in table.records(lines) if row["column"] == "SA"] == ["stl10", "cifar100"]


def test_the_command_line_names_the_other_data_set() -> None:
    asked = ["ascl-li-table-3", "--dry-run", "--budget", "paper"]
    said = CliRunner().invoke(command, [*asked, "--dataset", "cifar10"], catch_exceptions=False).output
    assert "then slf on stl10" in said
    assert "then slf on cifar100" in said
    assert "AT, one-shot, on stl10, seed 0, runs/at-one-shot-on-stl10-seed0" in said
    said = CliRunner().invoke(command, [*asked, "--other-dataset", "stl10"], catch_exceptions=False).output
    assert "then slf on stl10" in said
    assert "cifar100" not in said
