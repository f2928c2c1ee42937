"""Recipes that extend another one."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from robustcl import registry
from robustcl.errors import UsageError
from robustcl.recipe import inherit, reading

PARENT = """
name = "parent"
about = "The parent."
cite = "somebody, 2020"
deviations = ["one"]
base = { objective = "info-nce" }
[[stage]]
name = "first"
epochs = 3
views = { a = "strong", b = "strong" }
[stage.term.keep]
use = "info-nce"
[stage.term.gone]
use = "supcon"
weight = 0.5
[budget.small]
"stage.first.epochs" = 1
"stage.first.term.gone.weight" = 0.1
[adapt.digits]
"stage.first.views.a" = "weak"
"""
CHILD = """
name = "child"
extends = "parent"
deviations = ["two"]
drop = ["stage.first.term.gone"]
[set]
"stage.first.term.keep.temperature" = 0.2
"data.batch" = 64
[[stage]]
name = "second"
epochs = 1
[budget.small]
"stage.second.epochs" = 0
"""


@pytest.fixture
def recipes(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    texts = {"parent": PARENT, "child": CHILD}

    def text(name: str) -> str:
        if name not in texts:
            raise UsageError(f"no recipe {name}")
        return texts[name]

    monkeypatch.setattr(registry, "recipe_text", text)
    return texts


def test_a_child_drops_sets_and_adds(recipes: dict[str, str]) -> None:
    tables = inherit.read_installed("child")
    first, second = tables["stage"]
    assert first["term"] == {"keep": {"use": "info-nce", "temperature": 0.2}}
    assert (first["epochs"], second["name"]) == (3, "second")
    assert tables["data"] == {"batch": 64}
    assert tables["budget"]["small"] == {"stage.first.epochs": 1, "stage.second.epochs": 0}
    assert tables["adapt"]["digits"] == {"stage.first.views.a": "weak"}
    assert "extends" not in tables


def test_what_a_method_says_of_itself_is_not_inherited(recipes: dict[str, str]) -> None:
    tables = inherit.read_installed("child")
    assert tables["name"] == "child"
    assert tables["deviations"] == ["one", "two"]
    assert not {"about", "cite", "base"} & set(tables)


def test_a_file_may_extend_and_the_other_recipe_stays_as_it_is(recipes: dict[str, str]) -> None:
    before = copy.deepcopy(inherit.read_installed("parent"))
    inherit.whole({"name": "mine", "extends": "child", "set": {"stage.second.epochs": 9}}, "mine.toml")
    assert inherit.read_installed("parent") == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('extends = "nobody"', "no recipe nobody"),
        ('extends = ["parent"]', r"extends = \['parent'\] is not accepted; give the name of an installed recipe"),
        ('extends = "parent"\nset = "x"', "set = 'x' is not accepted; give a table of paths and values"),
        ('extends = "parent"\ndrop = "stage.first"', "drop = 'stage.first' is not accepted; give a list of texts"),
        ('extends = "parent"\ndeviations = "one"', "deviations = 'one' is not accepted; give a list of texts"),
        ('extends = "parent"\nbudget = "small"', "budget = 'small' is not accepted; give tables of paths"),
        ('extends = "parent"\n[adapt]\ndigits = 3', "adapt.digits = 3 is not accepted; give a table of paths"),
        ('extends = "parent"\ndrop = ["stage.first.term.none"]', "nothing at 'stage.first.term.none'"),
        ('extends = "parent"\n[data]\nbatch = 3', "cannot have a table 'data' of its own"),
        ('extends = "loop"', "child -> loop -> child extend each other"),
    ],
)
def test_faults_are_one_sentence(recipes: dict[str, str], text: str, said: str) -> None:
    recipes["child"] = f'name = "child"\n{text}'
    recipes["loop"] = 'name = "loop"\nextends = "child"'
    with pytest.raises(UsageError, match=said):
        inherit.read_installed("child")


def test_a_recipe_that_is_no_toml_names_its_owner(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("name =", encoding="utf-8")
    with pytest.raises(UsageError, match="is not TOML"):
        reading.read(tmp_path / "mine.toml")
