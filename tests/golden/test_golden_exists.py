"""Every plugin and every recipe of this distribution has a golden test, and every golden mark names a plugin."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from robustcl import registry

TESTS = Path(__file__).parents[1]
OURS = [
    (e.kind, e.name) for kind in registry.KINDS for e in registry.entries(kind) if e.origin.distribution == "robustcl"
]
OURS += [("recipe", name) for name, origin in registry.recipes().items() if origin.distribution == "robustcl"]


def marks(source: str) -> Iterator[tuple[str, str]]:
    """Yield (kind, name) of each ``pytest.mark.golden(kind, name)`` in the text of a test file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "golden":
            kind, name = (ast.literal_eval(argument) for argument in node.args)
            yield kind, name


MARKED = {mark for file in sorted(TESTS.rglob("test_*.py")) for mark in marks(file.read_text(encoding="utf-8"))}


@pytest.mark.parametrize(("kind", "name"), OURS, ids=[f"{kind}-{name}" for kind, name in OURS])
def test_plugin_has_a_golden_test(kind: str, name: str) -> None:
    assert (kind, name) in MARKED, f"write a test marked @pytest.mark.golden({kind!r}, {name!r})"


def test_every_mark_names_a_registered_plugin() -> None:
    assert not MARKED - set(OURS), "golden tests of plugins that are not registered; see the entry points"


def test_marks_are_read_wherever_they_stand() -> None:
    source = """
pytestmark = pytest.mark.golden("view", "weak")
@pytest.mark.golden("objective", "a")
@pytest.mark.golden("objective", "b")
def test_it(): ...
"""
    assert set(marks(source)) == {("view", "weak"), ("objective", "a"), ("objective", "b")}
