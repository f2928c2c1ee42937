"""The default of every option of every plugin, held against one table: who leaves an option out rests on it.

Runs and published recipes leave options out, and a journal's question holds what was written. A default that moves is
another method under the same name: it takes a change of this table, and of the plugin's version where it has one.
"""

from __future__ import annotations

import inspect
import tomllib
from pathlib import Path
from typing import Any

import pytest

from robustcl import registry

TABLE = tomllib.loads(Path(__file__).with_name("defaults.toml").read_text(encoding="utf-8"))
OURS = [
    (entry.kind, entry.name)
    for kind in registry.KINDS
    for entry in registry.entries(kind)
    if entry.origin.distribution == "robustcl"
]


def defaults(kind: str, name: str) -> dict[str, Any]:
    """Return option -> default, as TOML holds it; "(none)" for None."""
    options = inspect.signature(registry.get(kind, name).__init__).parameters.values()
    return {
        option.name: _plain(option.default)
        for option in options
        if option.kind is inspect.Parameter.KEYWORD_ONLY and option.default is not inspect.Parameter.empty
    }


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return "(none)" if value is None else value


@pytest.mark.parametrize(("kind", "name"), OURS, ids=[f"{kind}-{name}" for kind, name in OURS])
def test_defaults_are_those_of_the_table(kind: str, name: str) -> None:
    expected = TABLE.get(kind, {}).get(name, {})
    found = defaults(kind, name)
    assert found == expected
    assert {option: type(value) for option, value in found.items()} == {o: type(v) for o, v in expected.items()}


def test_the_table_names_no_plugin_that_is_not_there() -> None:
    assert {(kind, name) for kind, plugins in TABLE.items() for name in plugins} <= set(OURS)
