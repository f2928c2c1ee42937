"""The grid of a study: rows times axes times seeds, what changes a recipe in which order, and the folders of runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustcl.errors import UsageError
from robustcl.study.plan.setting import Setting
from tests.shared.tiny_study import compose_smoke


def test_rows_axes_and_seeds_are_multiplied(tmp_path: Path) -> None:
    axis = [{"name": "n", "path": "stage.robust.generator.neighbour", "values": [2, 4]}]
    rows = [{"name": "a", "recipe": "tiny.toml"}, {"name": "b", "recipe": "tiny.toml", "set": {"data.batch": 64}}]
    found = compose_smoke(tmp_path, Setting(budget="smoke", seeds=2), row=rows, axis=axis).planned
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
    run = compose_smoke(tmp_path, setting, row=rows, axis=axis, set=every).planned[0].composition
    generator = run.stages[1].generators[0].part.plugin
    assert (generator.steps, generator.neighbour, run.recipe.data.batch) == (4, 5, 64)
    assert run.recipe.data.validation == 0.2
    assert run.recipe.stage[1].epochs == 1, "the recipe's own budget is applied"
    assert float(run.ball.eps) == 16 / 255, "the recipe's own adaptation is applied"


def test_what_is_dropped_takes_its_budget_along(tmp_path: Path) -> None:
    rows = [{"name": "a", "recipe": "tiny.toml", "drop": ["stage.robust"], "set": {"evaluate.slf.route": ["clean"]}}]
    run = compose_smoke(tmp_path, row=rows).planned[0].composition
    assert [stage.name for stage in run.stages] == ["pretrain"]


def test_equal_compositions_are_one_run(tmp_path: Path) -> None:
    rows = [{"name": "a", "recipe": "tiny.toml"}, {"name": "b", "recipe": "tiny.toml"}]
    assert [run.folder for run in compose_smoke(tmp_path, row=rows).planned] == ["a-seed0", "a-seed0"]


def test_labels_that_look_alike_have_folders_of_their_own(tmp_path: Path) -> None:
    rows = [
        {"name": name, "recipe": "tiny.toml", "set": {"data.batch": batch}}
        for name, batch in (("a b", 64), ("A-b", 32))
    ]
    assert [run.folder for run in compose_smoke(tmp_path, row=rows).planned] == ["a-b-seed0", "a-b-again-seed0"]


def test_a_row_that_does_not_compose_is_named_with_its_study(tmp_path: Path) -> None:
    rows = [
        {"name": "good", "recipe": "tiny.toml"},
        {"name": "bad", "recipe": "tiny.toml", "set": {"stage.robust.generator.steps": -1}},
    ]
    with pytest.raises(UsageError, match=r"the study tiny-study, row 'bad': .*steps = -1"):
        compose_smoke(tmp_path, row=rows)
    rows[1] = {"name": "bad", "recipe": "no-such-recipe"}
    with pytest.raises(UsageError, match="the study tiny-study, row 'bad': no installed distribution offers a recipe"):
        compose_smoke(tmp_path, row=rows)
