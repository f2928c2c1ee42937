"""Every installed recipe from its first stage to its results, at the smallest budget."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from robustcl import api, compose, registry, report
from robustcl.composition.choice import Flags, choose
from robustcl.recipe import inherit
from tests.shared import tiny
from tests.shared.forks import fork

NAMES = sorted(registry.recipes())


def judged(name: str) -> tuple[tuple[str, ...], ...]:
    """Return what an audit sees of a recipe: by which protocols which weights are judged, and on which routes."""
    tables = inherit.read_installed(name)["evaluate"]
    return tuple(
        (table.get("use", table.get("protocol")), table.get("encoder", "online"), *table.get("route", ["clean"]))
        for table in tables
    )


JUDGED = sorted({judged(name): name for name in reversed(NAMES)}.values())
"""A recipe for each kind of evaluation."""


@pytest.mark.parametrize("name", sorted({*NAMES} - {*JUDGED}))
def test_a_recipe_trains(name: str, tmp_path: Path) -> None:
    tables, how = choose(Flags(recipe=name, budget="smoke"))
    composition = api.from_tables({**tables, "evaluate": []}, name, how)
    run = composition.train(tmp_path / "run", device="cpu", report=False)
    lines = (run.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["stage"] for line in lines} >= {plan.name for plan in composition.stages if plan.epochs}
    assert all(math.isfinite(value) for line in lines for key, value in json.loads(line).items() if key != "stage")


@pytest.mark.parametrize("name", JUDGED)
def test_a_recipe_trains_and_is_judged_audited_and_reported(name: str, tmp_path: Path) -> None:
    run = compose(recipe=name, budget="smoke").train(tmp_path / "run", device="cpu", report=False)
    rows = run.results.tables["rows"]
    assert {row["attack"] for row in rows} > {None}, "clean and attacked"
    assert all(0 <= row["value"] <= 1 for row in rows)
    assert run.results.tables["audit"]
    assert compose(recipe=name).recipe.name in Path(report.write(run.path)).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_says_what_it_is(name: str) -> None:
    tables = inherit.read_installed(name)
    assert tables["name"] == name
    assert inherit.summary(tables["about"]), "the first sentence of about stands in the list of recipes"
    assert len(tables["about"]) > 100, "about is the method's page"
    assert any(year in tables["cite"] for year in map(str, range(1990, 2027))) or "no source" in tables["cite"]


def test_recipes_are_listed_with_what_they_are() -> None:
    def printed(*arguments: str) -> str:
        done = fork(["recipes", *arguments], Path.cwd(), tiny.environment())
        assert done.returncode == 0, done.stderr
        return done.stdout

    rows = json.loads(printed("list", "--json"))
    assert [row["name"] for row in rows] == list(registry.recipes())
    assert inherit.summary(inherit.read_installed("simclr")["about"]) in printed("list")
    assert 'extends = "acl-ds"' in printed("show", "a-acl")
    assert "extends" not in printed("show", "a-acl", "--whole")
