"""The study of the tiny recipe that the tests of studies change in one thing or another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tomli_w

from robustcl.study import api
from robustcl.study.grammar.parsing import parse
from robustcl.study.grammar.study import Study
from robustcl.study.plan.setting import Setting
from tests.shared import tiny

PGD = {"use": "pgd", "steps": 2, "step_size": "8/255"}

RA = {"name": "RA, {} eps", "use": "perturbed", "value": "accuracy", "attack": dict(PGD),
      "sweep": {"key": "times", "values": [0.5, 1, 2.0]}}  # fmt: skip
"""A swept column."""


def tables(**changes: Any) -> dict[str, Any]:
    """Return a study of the tiny recipe: two rows that differ in their second stage, one column."""
    rows = [
        {"name": "near", "recipe": "tiny.toml"},
        {"name": "far", "recipe": "tiny.toml", "set": {"stage.robust.generator.neighbour": 3}},
    ]
    return {"name": "tiny-study", "row": rows, "column": [{"name": "SA"}]} | changes


def study(**changes: Any) -> Study:
    """Return it parsed."""
    return parse(tables(**changes), "the study tiny-study")


def write_study(folder: Path, **changes: Any) -> str:
    """Write the tiny recipe, which a budget and a data set change, and a study of it; return the study's name."""
    recipe = tiny.tables(budget={"smoke": {"stage.robust.epochs": 1}}, adapt={"digits": {"threat.eps": "16/255"}})
    return _write(folder, recipe, changes)


def compose_smoke(folder: Path, asked: Setting | None = None, **changes: Any) -> api.Composed:
    """Compose that study, at its smoke budget where nothing else is asked for."""
    return api.compose(write_study(folder, **changes), asked or Setting(budget="smoke"))


def compose_plain(folder: Path, **changes: Any) -> api.Composed:
    """Compose a study of the tiny recipe as it stands."""
    return api.compose(_write(folder, tiny.tables(), changes), Setting(budget="paper"))


def _write(folder: Path, recipe: dict[str, Any], changes: dict[str, Any]) -> str:
    (folder / "tiny.toml").write_text(tomli_w.dumps(recipe), encoding="utf-8")
    (folder / "study.toml").write_text(tomli_w.dumps(tables(**changes)), encoding="utf-8")
    return str(folder / "study.toml")
