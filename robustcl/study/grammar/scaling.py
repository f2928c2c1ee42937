"""A study's tables as a data set and a budget change them, before they are checked."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from robustcl.errors import UsageError
from robustcl.recipe import override

_KEYS = ("adapt", "budget")


def plain(tables: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the tables as they stand, without those that change others.

    Raises:
        UsageError: ``adapt`` or ``budget`` are no tables.
    """
    for key in _KEYS:
        if not isinstance(tables.get(key, {}), Mapping):
            raise UsageError(f"{where}: {key} = {tables[key]!r} is not accepted; give tables [{key}.NAME]")
    return {key: copy.deepcopy(value) for key, value in tables.items() if key not in _KEYS}


def scale(tables: Mapping[str, Any], dataset: str, budget: str, where: str) -> dict[str, Any]:
    """Return the tables as a data set and a budget change them, the most precise last; of ``npz:FILE`` it is npz.

    That is ``[adapt.DATASET]``, ``[budget.NAME]``, and what is for both, ``[adapt.DATASET.budget.NAME]``.

    Raises:
        UsageError: a path that leads nowhere, or a value that is no table.
    """
    changed, use = plain(tables, where), dataset.partition(":")[0]
    adapted = _table(tables.get("adapt", {}), use, f"adapt.{use} of {where}")
    both = _table(adapted, "budget", f"adapt.{use}.budget of {where}")
    own = {path: value for path, value in adapted.items() if path != "budget"}
    _change(changed, own, f"adapt.{use} of {where}")
    for told, budgets in (("", tables.get("budget", {})), (f"adapt.{use}.", both)):
        place = f"{told}budget.{budget} of {where}"
        _change(changed, _table(budgets, budget, place), place)
    return changed


def _table(tables: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    found = tables.get(name, {})
    if not isinstance(found, Mapping):
        raise UsageError(f"{where}: write a table of paths and values")
    return found


def _change(changed: dict[str, Any], changes: Mapping[str, Any], where: str) -> None:
    for path, value in changes.items():
        if path == "set" and not isinstance(value, Mapping):
            raise UsageError(f"{where}: set = {value!r} is not accepted; give a table of paths and values")
        if path == "set":
            changed.setdefault("set", {}).update(copy.deepcopy(value))
        else:
            override.put(changed, path, copy.deepcopy(value), where)
