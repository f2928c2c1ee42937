"""Recipes that extend another: what they say anew, what they change, what they leave out.

``extends`` names an installed recipe. Its tables are taken whole; then ``drop`` (dotted paths) removes some, ``[set]``
(dotted paths and values) changes some, and the stages of the extending recipe follow those of the other one. Budgets
and adaptations are joined path by path, deviations one after the other; what a method says of itself (``name``,
``about``, ``cite``, ``base``) is never inherited. An installed recipe's own numbers are of the data for which the other
one was written; a file's are its author's, whatever the data, unless it says ``written_for`` itself.
"""

from __future__ import annotations

import copy
import functools
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustcl import registry
from robustcl.errors import UnknownPlugin, UsageError
from robustcl.recipe import override, reading
from robustcl.recipe.written_for import as_written_for

_OWN = ("name", "about", "cite", "base")
"""What a recipe says of itself."""
_KNOWN = {*_OWN, "extends", "written_for", "set", "drop", "deviations", "stage", "budget", "adapt"}


def read_named(use: str, beside: Path = Path()) -> dict[str, Any]:
    """Return the whole tables of an installed recipe, or of a recipe file, which is looked for in a folder.

    Raises:
        UsageError: as ``read_installed``, or a file that is missing or no recipe.
    """
    if not is_file(use):
        return read_installed(use)
    path = beside / Path(use).expanduser()
    return whole(reading.read(path), str(path))


def is_file(use: str) -> bool:
    """Say whether a recipe is meant by a file's name: it ends with ``.toml``, or is a file and no recipe's name."""
    return use.endswith(".toml") or (use not in registry.recipes() and Path(use).is_file())


def read_installed(name: str) -> dict[str, Any]:
    """Return the whole tables of an installed recipe.

    Raises:
        UsageError: it is unknown, is no TOML, or extends what does not exist.
    """
    return _installed(name, ())


def own(name: str) -> Mapping[str, Any]:
    """Return what an installed recipe itself says, without what it extends; errors as in ``read_installed``."""
    try:
        return _parsed(registry.recipe_text(name))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"the recipe {name!r} of {registry.recipes()[name]} is not TOML: {error}") from None


def whole(tables: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the tables of a recipe with those that it extends filled in; ``where`` names it in errors."""
    joined = _whole(tables, where, ())
    if "extends" in tables and "written_for" not in tables and "written_for" in joined:
        before, own = as_written_for(joined["written_for"]), _said(tables)
        if own and isinstance(before, Mapping) and isinstance(before.get("but", []), list):
            joined["written_for"] = {**before, "but": [*before.get("but", []), *own]}
    return joined


def _said(tables: Mapping[str, Any]) -> list[str]:
    """Return the paths of what an extending recipe sets, and of what its own stages hold."""
    stages = [stage for stage in tables.get("stage", []) if isinstance(stage, Mapping) and "name" in stage]
    return [*tables.get("set", {}), *(f"stage.{stage['name']}.{key}" for stage in stages for key in stage)]


def summary(about: str) -> str:
    """Return the first sentence of what a recipe says of itself, on one line and without its full stop."""
    return re.split(r"(?<! al)\. ", " ".join(about.split()))[0].removesuffix(".")


def _installed(name: str, children: tuple[str, ...]) -> dict[str, Any]:
    if name in children:
        raise UsageError(f"the recipes {' -> '.join((*children, name))} extend each other in a circle")
    return _whole(own(name), f"the recipe {name!r}", (*children, name))


@functools.lru_cache(maxsize=256)
def _parsed(text: str) -> Mapping[str, Any]:
    """Composing looks through all recipes for the fitting one; each is read once."""
    return tomllib.loads(text)


def _whole(tables: Mapping[str, Any], where: str, children: tuple[str, ...]) -> dict[str, Any]:
    if "extends" not in tables:
        return copy.deepcopy(dict(tables))
    for key in tables:
        if key not in _KNOWN:
            raise UsageError(
                f"{where} extends another recipe and cannot have a table {key!r} of its own: "
                f'change the other one\'s by [set], e.g. "{key}.KEY" = value'
            )
    _refuse_other_types(tables, where)
    joined = _extended(tables["extends"], where, children)
    for key in _OWN:
        joined.pop(key, None)
    joined |= {key: copy.deepcopy(tables[key]) for key in _OWN if key in tables}
    for path in tables.get("drop", []):
        drop(joined, str(path), f"drop of {where}")
    data = override.get(joined, "data.use")
    for path, value in tables.get("set", {}).items():
        override.put(joined, path, copy.deepcopy(value), f"set of {where}")
    if override.get(joined, "data.use") != data:
        joined.pop("written_for", None)  # its numbers are meant for the data that it names
    if "written_for" in tables:
        joined["written_for"] = copy.deepcopy(tables["written_for"])
    for key in ("deviations", "stage"):
        if key in tables:
            joined[key] = [*joined.get(key, []), *copy.deepcopy(tables[key])]
    for key in ("budget", "adapt"):
        for name, changes in tables.get(key, {}).items():
            joined.setdefault(key, {}).setdefault(name, {}).update(copy.deepcopy(changes))
    return joined


def _extended(name: str, where: str, children: tuple[str, ...]) -> dict[str, Any]:
    try:
        return _installed(name, children)
    except UnknownPlugin as error:
        raise type(error)(f"extends of {where}: {error}") from None


def _refuse_other_types(tables: Mapping[str, Any], where: str) -> None:
    """What is joined must be a table or a list; the rest is checked with the whole recipe."""
    wanted = {"extends": (str, "the name of an installed recipe"), "set": (dict, "a table of paths and values")}
    wanted |= dict.fromkeys(("drop", "deviations"), (list, "a list of texts"))
    wanted |= {"stage": (list, "tables [[stage]]")}
    wanted |= {key: (dict, f"tables of paths and values, e.g. [{key}.NAME]") for key in ("budget", "adapt")}
    for key, (kind, said) in wanted.items():
        if key in tables and not isinstance(tables[key], kind):
            raise UsageError(f"{where}: {key} = {tables[key]!r} is not accepted; give {said}")
    for key in ("budget", "adapt"):
        for name, changes in tables.get(key, {}).items():
            if not isinstance(changes, dict):
                raise UsageError(
                    f"{where}: {key}.{name} = {changes!r} is not accepted; give a table of paths and values"
                )


def drop(tables: dict[str, Any], path: str, where: str) -> None:
    """Take out what stands at a path, and what budgets and adaptations would do to it."""
    override.remove(tables, path, where)
    for key in ("budget", "adapt"):
        for changes in tables.get(key, {}).values():
            for gone in [other for other in changes if f"{other}.".startswith(f"{path}.")]:
                del changes[gone]
