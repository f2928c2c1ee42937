"""What a data set and a budget set in a recipe, ``[adapt.NAME]`` and ``[budget.NAME]``: dotted paths and values."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from robustcl.composition import dataset_rules, exchange
from robustcl.errors import UsageError, near
from robustcl.recipe import override
from robustcl.recipe.written_for import WrittenFor, as_written_for

Settings = Mapping[str, Mapping[str, Any]]
"""``adapt.NAME`` and ``budget.NAME`` -> the paths that it has set, and their values."""


def adapt(recipe: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Apply what the data set's own rules change in a recipe for another one, then the recipe's ``[adapt.DATASET]``."""
    adaptations = _paths(recipe, "adapt")
    name = exchange.plugin_of(recipe.get("data", {"use": "digits"}))
    written = _written_for(recipe)
    rules = dataset_rules.rules_of(name, written.data) if written else None
    try:
        ruled = dataset_rules.apply(recipe, rules, written.but) if written and rules else {}
    except OverflowError:
        said = "multiplies a number of the recipe out of the range of numbers"
        raise UsageError(f"the data set {name!r}: its adaptation {said}; correct the plugin's rules") from None
    plain = dataset_rules.plain_name(name)
    changes = adaptations.get(name, adaptations.get(plain, {}))
    for path, value in changes.items():
        override.put(recipe, path, copy.deepcopy(value), f"adapt.{plain}")
    return {f"adapt.{plain}": ruled | dict(changes)}


def _written_for(recipe: dict[str, Any]) -> WrittenFor | None:
    """Take out for which data a recipe was written; what is no such thing stays, and is refused with the recipe."""
    try:
        written = WrittenFor.model_validate(as_written_for(recipe.get("written_for")))
    except ValidationError:
        return None
    del recipe["written_for"]
    return written


def spend(recipe: dict[str, Any], budget: str | None) -> dict[str, dict[str, Any]]:
    """Apply ``[budget.NAME]``: dotted paths and their values."""
    budgets = _paths(recipe, "budget")
    done = as_mapping(recipe.get("made")).get("budget")
    if budget is not None and done not in (None, budget) and budget not in budgets:
        raise UsageError(
            f"the recipe was composed at the budget {done} already and no longer holds what {budget!r} would need: "
            f"compose its base anew with --budget {budget}"
        )
    if budget is None or budget in ("paper", done):
        return {}
    if budget not in budgets:
        known = ["paper", *budgets]
        raise UsageError(f"the recipe has no budget {budget!r}{near(budget, known)}; it has {', '.join(known)}")
    for path, value in budgets[budget].items():
        override.put(recipe, path, copy.deepcopy(value), f"budget.{budget}")
    return {f"budget.{budget}": dict(budgets[budget])}


def reach(recipe: dict[str, Any], settings: Settings) -> list[str]:
    """Give generators that came later the steps that data set and budget ask for, where they have such options."""
    notes: dict[str, str] = {}
    for where, changes in reversed(list(settings.items())):  # the budget was applied last
        for path, value in changes.items():
            option = path.rpartition(".")[2]
            if option in _STEPS:
                notes |= {place: f"{place} = {value}, as {where} says" for place in _given(recipe, path, option, value)}
    return list(notes.values())


def describe_changes(recipe: Mapping[str, Any], settings: Settings) -> list[str]:
    """Return in words what the data set and the budget have set, as far as it still stands."""
    lines = []
    for where, changes in settings.items():
        kind, _, name = where.partition(".")
        kept = {path: value for path, value in changes.items() if override.get(recipe, path) == value}
        head = f"adapted to {name}" if kind == "adapt" else f"budget {name}"
        lines += [f"{head}: {_assignments(kept)}"] if kept else []
    return lines


def _paths(recipe: dict[str, Any], key: str) -> dict[str, dict[str, Any]]:
    """Take tables of dotted paths out of a recipe."""
    found = recipe.pop(key, {})
    if not isinstance(found, Mapping) or not all(isinstance(table, Mapping) for table in found.values()):
        raise UsageError(f"{key}: write tables of paths and values, e.g. [{key}.NAME]")
    return dict(found)


def _assignments(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{path}={value}" for path, value in changes.items())


_STEPS = ("steps", "step_size")
"""Options of an attack that belong to the size of the ball."""


def _given(recipe: dict[str, Any], path: str, option: str, value: Any) -> list[str]:
    """Set an option of the generators that a path means, where they have it and their tables do not say it."""
    match path.split("."):
        case ["stage", stage, "generator", *name, _] if len(name) < 2:
            pass
        case _:
            return []
    found = []
    for entry in recipe["stage"] if isinstance(recipe.get("stage"), list) else []:
        tables = entry.get("generator") if isinstance(entry, Mapping) and entry.get("name") == stage else None
        for key, table in as_mapping(tables).items():
            if name and name[0] in as_mapping(tables) and key != name[0]:
                continue
            full = {"use": table} if isinstance(table, str) else table
            if isinstance(full, Mapping) and option not in full and exchange.takes("generator", full, option, value):
                entry["generator"][key] = {**full, option: value}
                found.append(f"stage.{stage}.generator.{key}.{option}")
    return found


def as_mapping(value: Any) -> Mapping[str, Any]:
    """Return a table as it is, and of anything else an empty one."""
    return value if isinstance(value, Mapping) else {}
