"""The house: no circle of files or rooms, no arrow that the architecture's page does not show."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests import house

GRAPH = house.imports(house.ROOT)


def test_no_file_is_part_of_a_circle() -> None:
    assert house.circles(GRAPH) == []


def test_no_room_is_part_of_a_circle() -> None:
    assert house.circles(house.rooms(GRAPH)) == []


def test_the_page_shows_every_room_and_every_arrow() -> None:
    drawn = house.drawn(house.PAGE.read_text(encoding="utf-8"))
    assert drawn == house.table(house.rooms(GRAPH)), "python tests/house.py draws docs/architecture.md anew"


def test_nothing_imports_the_built_in_plugins_or_the_tests() -> None:
    for path in (house.ROOT / "robustcl").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "import robustcl_plugins" not in text
        assert "from robustcl_plugins" not in text


def drawn_of(folder: Path, files: dict[str, str]) -> house.Graph:
    """Return the imports of a package of these files."""
    for name, text in files.items():
        path = folder / "robustcl" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return house.imports(folder)


@pytest.mark.parametrize(
    "line",
    [
        "from robustcl.a import two",
        "from robustcl import a",
        "import robustcl.a.two",
        "def later() -> None:\n    from robustcl.a.two import it",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from robustcl.a import two",
    ],
)
def test_a_circle_is_seen_wherever_the_import_stands(tmp_path: Path, line: str) -> None:
    graph = drawn_of(tmp_path, {"a/__init__": "", "a/two": "from robustcl.b import it", "b": line, "__init__": ""})
    assert house.circles(house.rooms(graph)) == [["a", "b"]]
    of_files = [] if line == "from robustcl import a" else [["robustcl.a.two", "robustcl.b"]]
    assert house.circles(graph) == of_files


@pytest.mark.parametrize(("line", "circle"), [("", []), ("from robustcl.a.deep.two import it", [["a", "a/deep"]])])
def test_a_folder_in_a_room_is_a_room_of_its_own(tmp_path: Path, line: str, circle: list[list[str]]) -> None:
    deep = {"a/deep/__init__": "", "a/deep/two": "from robustcl.a.one import it"}
    found = house.rooms(drawn_of(tmp_path, {"__init__": "", "a/__init__": "", "a/one": "", "a/three": line, **deep}))
    assert found["a/deep"] == {"a"}
    assert house.circles(found) == circle


def test_a_room_stands_above_what_it_uses() -> None:
    graph = house.rooms(GRAPH)
    order = house.levels(graph)
    assert all(order.index(room) < order.index(other) for room, others in graph.items() for other in others)
    assert order[-1] in {"errors", "ratio"}


def test_no_two_public_classes_share_a_name() -> None:
    found: dict[str, list[str]] = {}
    for path in (house.ROOT / "robustcl").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(path.name)
    assert {name: files for name, files in found.items() if len(files) > 1} == {}


OTHERS = {"fuzz", "golden", "mutants", "pins", "plugins", "shared", "whole"}
"""Folders of tests that are no room's: of the built-in plugins, of the whole, and what several rooms' tests share."""


def test_tests_stand_in_the_room_that_they_hold() -> None:
    """A room that is a file has its tests at the top, under its name."""
    tests, package = house.ROOT / "tests", house.ROOT / "robustcl"
    assert {each.parent.name for each in tests.glob("*/*.py") if not (package / each.parent.name).is_dir()} == OTHERS
    folders = {each.parent.relative_to(tests) for each in tests.glob("*/**/test_*.py")}
    assert [each for each in folders if each.parts[0] not in OTHERS and not (package / each).is_dir()] == []
    assert [each for each in tests.rglob("*.py") if not (each.parent / "__init__.py").is_file()] == []
    files = "|".join(path.stem for path in package.glob("*.py"))
    astray = [each.name for each in tests.glob("test_*.py") if not re.match(rf"test_(house|{files})(_|\.)", each.name)]
    assert astray == []


def test_no_module_is_called_like_its_only_function() -> None:
    found = []
    for path in (house.ROOT / "robustcl").rglob("*.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        public = [node.name for node in body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
        found += [path.name] if public == [path.stem] else []
    assert found == []
