"""The study of the tiny recipe that the tests of studies change in one thing or another."""

from __future__ import annotations

from typing import Any

from robustcl.study.grammar.parsing import parse
from robustcl.study.grammar.study import Study


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
