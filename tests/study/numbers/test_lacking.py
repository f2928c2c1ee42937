"""Rows that lack what a column reads: an empty cell and a note; and the route that each recipe calls its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from robustcl.errors import NotMeasured
from robustcl.report.load import load_results
from robustcl.study import api
from robustcl.study.tables.asked import questions
from tests.shared.tiny_study import compose_plain

UNTRAINED = {"stage.pretrain.epochs": 0, "stage.robust.epochs": 0, "evaluate.slf.epochs": 1}
PLAIN = {"name": "plain", "recipe": "tiny.toml", "set": {"evaluate.slf.route": ["clean"], "evaluate.slf.attacks": []}}
OWN = {"name": "own", "recipe": "tiny.toml", "set": {"judged": "adv"}}
FGSM = {"name": "RA", "route": "judged", "attack": "fgsm"}


@pytest.mark.parametrize(
    ("column", "why"),
    [
        ({"attack": "fgsm"}, "the recipe is not judged under 'fgsm'; it is under nothing"),
        ({"attack": "first"}, "the recipe evaluates under no attack"),
        ({"route": "adv"}, "the route 'adv' is not judged; clean are"),
        ({"use": "perturbed", "value": "fooled", "attack": "fgsm", "route": "adv"}, "the route 'adv' is not judged"),
        ({"use": "transferred", "source": "own", "attack": "fgsm", "route": "adv"}, "the route 'adv' is not judged"),
    ],
)
def test_what_one_row_lacks_is_noted_for_it_alone(column: dict[str, Any], why: str, tmp_path: Path) -> None:
    found = compose_plain(tmp_path, row=[PLAIN, OWN], column=[{"name": "SA"}, {"name": "x", **column}])
    lacks = [run.lacks for run in found.planned]
    assert [set(each) for each in lacks] == [{"x"}, set()]
    assert lacks[0]["x"].startswith(why)
    assert f"plain has no x: {lacks[0]['x']}" in found.explain().splitlines()


def test_a_stage_a_metric_or_a_choice_of_clusters_may_be_one_row_s(tmp_path: Path) -> None:
    only = {"evaluate.slf.route": ["clean"]}
    short = {"name": "short", "recipe": "tiny.toml", "drop": ["stage.robust"], "set": only}
    columns = [
        {"name": "K", "use": "clusters"},
        {"name": "loss", "use": "metric", "metric": "term/slow/robust", "stage": "robust"},
    ]
    figures = [{"kind": "epochs", "metrics": ["loss"], "stage": "robust"}]
    found = compose_plain(tmp_path, row=[short, {"name": "far", "recipe": "tiny.toml"}], column=columns, figure=figures)
    assert [set(run.lacks) for run in found.planned] == [{"K", "loss", "figure 1"}, set()]
    assert "short has no loss, figure 1: the recipe has no stage 'robust'" in found.explain()


def test_what_no_row_has_and_what_a_row_asks_for_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotMeasured, match=r"row 'plain', column 'x': the recipe is not judged under 'fsgm'"):
        compose_plain(tmp_path, row=[PLAIN, OWN], column=[{"name": "x", "attack": "fsgm"}])
    itself = {**PLAIN, "column": {"x": {"route": "avd"}}}
    with pytest.raises(NotMeasured, match=r"row 'plain', column 'x': the route 'avd' is not judged"):
        compose_plain(tmp_path, row=[itself, OWN], column=[{"name": "x"}])


def test_a_recipe_of_several_branches_must_call_one_its_own(tmp_path: Path) -> None:
    both = {"name": "both", "recipe": "tiny.toml"}
    found = compose_plain(tmp_path, row=[both, OWN], column=[FGSM])
    assert (
        found.planned[0].lacks["RA"].startswith("the recipe is judged on clean and adv and calls none of them its own")
    )


def test_the_table_has_an_empty_cell_and_the_notes_say_why_and_on_which_route(tmp_path: Path) -> None:
    clean = {"name": "SA", "route": "judged"}
    made = compose_plain(tmp_path, row=[PLAIN, OWN], column=[clean, FGSM], set=UNTRAINED)
    found = api.run(made, tmp_path / "out", device="cpu")
    assert [[cell.n for cell in line.cells] for line in found.lines] == [[16, None], [16, 16]]
    assert found.lines[0].cells[1].text() == "–"
    page = (tmp_path / "out" / "study.md").read_text(encoding="utf-8")
    assert "- plain has no RA: the recipe is not judged under 'fgsm'; it is under nothing" in page
    told = "the judged route of each row, clean of plain and adv of own, n = 16"
    assert f"- SA: clean images, protocol slf, test split, {told}" in page
    assert "- RA: fgsm, protocol slf, test split, route adv, the judged one, n = 16" in page
    assert questions(made.study, made.planned, found.lines)[1].endswith("the judged one, n = 16")
    adv = next(row for row in load_results(tmp_path / "out" / "runs" / "own-seed0")["rows"]
               if (row["route"], row["split"], row["attack"]) == ("adv", "test", None))  # fmt: skip
    assert found.lines[1].cells[0].mean == pytest.approx(100 * adv["value"])
