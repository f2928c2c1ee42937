"""Dotted overrides of a recipe's tables: ``stage.robust.generator.steps=10``.

``stage.NAME`` finds the stage of that name, ``stage.*.KEY`` means every stage, and so for evaluations. Below
``generator`` and ``term`` the name may be left out where there is only one; a table with ``use`` under a new name
there is another one. A table at ``evaluate.PROTOCOL`` is the evaluation by that protocol, one more where there was
none. What the path's last key means is checked later, with everything else.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Mapping
from typing import Any

from robustcl.errors import UsageError
from robustcl.recipe.grammar import GeneratorTable, Term


def apply(tables: dict[str, Any], assignment: str, flag: str = "--set") -> None:
    """Change the tables in place by one ``path=value``; the value is TOML, or else a string.

    Raises:
        UsageError: no ``=``, or a path that leads nowhere.
    """
    path, equals, text = assignment.partition("=")
    if not equals or not path.strip():
        raise UsageError(f"{flag} {assignment!r} is not of the form path=value, e.g. stage.robust.epochs=10")
    if "" in (key.strip() for key in path.split(".")):
        raise UsageError(f"{flag} {assignment!r}: a key of the path is empty, write e.g. stage.robust.epochs=10")
    put(tables, path.strip(), _value(text.strip()), f"{flag} {assignment}")


def put(tables: dict[str, Any], path: str, value: Any, where: str) -> None:
    """Change the tables in place: set the value at a dotted path."""
    head, star, rest = path.partition(".*.")
    if star and isinstance(entries := tables.get(head), list):
        for number in range(len(entries)):
            put(tables, f"{head}.{number}.{rest}", copy.deepcopy(value), where)
        return
    *way, last = path.split(".")
    if way == ["evaluate"] and isinstance(value, dict) and not last.isdigit():
        _put_evaluation(tables, last, value, where)
        return
    node: Any = tables
    for key in way:
        node = _descend(node, key, path, where)
    if isinstance(node, dict) and _is_plural(node) and last not in node and not _is_new_entry(last, value):
        node = _only(node, path, where)
    if not isinstance(node, dict):
        raise UsageError(f"{where}: {path!r} leads to a value, not to a table")
    node[last] = value


def _put_evaluation(tables: dict[str, Any], protocol: str, value: Mapping[str, Any], where: str) -> None:
    """Put the evaluation by a protocol into the place of the one that is there, else behind the others."""
    entry = {"protocol": protocol, **value}
    if _name(entry) != protocol:
        raise UsageError(f"{where}: evaluate.{protocol} names the protocol {_name(entry)!r} as well; leave one out")
    entries = tables.setdefault("evaluate", [])
    if not isinstance(entries, list):
        raise UsageError(f"{where}: 'evaluate' is no list of tables; write [[evaluate]]")
    place = next((n for n, other in enumerate(entries) if isinstance(other, dict) and _name(other) == protocol), None)
    if place is None:
        entries.append(entry)
    else:
        entries[place] = entry


def get(tables: Mapping[str, Any], path: str) -> Any:
    """Return what stands at a dotted path, ``None`` where there is nothing; the tables stay as they are."""
    *way, last = path.split(".")
    node: Any = dict(tables)
    try:
        for key in way:
            if isinstance(node, dict):
                node = _only(node, path, "") if _is_plural(node) and key not in node else node
                node = dict(node)  # going down turns bare names into tables
            node = _descend(node, key, path, "")
        if isinstance(node, dict) and _is_plural(node) and last not in node:
            node = _only(node, path, "")
    except UsageError:
        return None
    return node.get(last) if isinstance(node, dict) else None


def remove(tables: dict[str, Any], path: str, where: str) -> None:
    """Change the tables in place: take out what stands at a dotted path, an entry of a list by its name."""
    *way, last = path.split(".")
    node: Any = tables
    for key in way:
        node = _descend(node, key, path, where)
    if isinstance(node, list):
        kept = [entry for entry in node if not (isinstance(entry, dict) and _name(entry) == last)]
        found = len(kept) < len(node)
        node[:] = kept
    else:
        found = isinstance(node, dict) and node.pop(last, _NOTHING) is not _NOTHING
    if not found:
        raise UsageError(f"{where}: there is nothing at {path!r} to take out")


_NOTHING = object()


def _descend(node: Any, key: str, path: str, where: str) -> Any:
    if isinstance(node, list):
        named = [entry for entry in node if isinstance(entry, dict) and _name(entry) == key]
        if named:
            return named[0]
        if key.isdigit() and int(key) < len(node):
            return node[int(key)]
        known = ", ".join(str(_name(entry)) for entry in node if isinstance(entry, dict))
        raise UsageError(f"{where}: nothing is named {key!r} on the way to {path!r}; there is {known or 'nothing'}")
    if not isinstance(node, dict):
        raise UsageError(f"{where}: {path!r} goes through {key!r}, which is not a table")
    if _is_plural(node) and key not in node:
        node = _only(node, path, where)
    if isinstance(node.get(key), str):
        node[key] = {"use": node[key]}
    return node.setdefault(key, {})


def _name(entry: dict[str, Any]) -> Any:
    return entry.get("name", entry.get("use", entry.get("protocol")))


def _is_plural(node: dict[str, Any]) -> bool:
    """Tell a table of named plugin tables (``generator``, ``term``) from one plugin's table."""
    return bool(node) and "use" not in node and all(isinstance(e, dict) and "use" in e for e in node.values())


def _is_new_entry(key: str, value: Any) -> bool:
    """Tell another generator or term from an option of the only one, such as ``selector = { use = "all" }``."""
    return isinstance(value, dict) and "use" in value and key not in {*Term.model_fields, *GeneratorTable.model_fields}


def _only(node: dict[str, Any], path: str, where: str) -> Any:
    if len(node) == 1:
        return next(iter(node.values()))
    raise UsageError(f"{where}: {path!r} could mean any of {', '.join(node)}; name one of them in the path")


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    except (ValueError, RecursionError):
        raise UsageError(f"the value {text[:40]}... has too many digits or is nested too deeply: shorten it") from None
