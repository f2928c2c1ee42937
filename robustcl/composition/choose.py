"""From flags to a recipe: the base that fits them, the budget, the replaced parts, the dotted overrides.

The order is base, data set, budget, flags, overrides: what is said last and most precisely wins.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from robustcl import inherit, override, registry
from robustcl.composition import exchange
from robustcl.errors import UsageError, near


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line (or a caller) says; a missing part is ``None``."""

    recipe: str | None = None
    generator: str | None = None
    objective: str | None = None
    selector: str | None = None
    target: str | None = None
    encoder: str | None = None
    dataset: str | None = None
    data_dir: str | None = None
    budget: str | None = None
    seed: int | None = None
    overrides: Sequence[str] = field(default_factory=tuple)


def choose(flags: Flags, tables: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], list[str]]:
    """Return a recipe's tables and, in words, how they came about.

    Args:
        flags: the parts to replace.
        tables: start from these (a recipe file) and not from an installed recipe.

    Raises:
        UsageError: no recipe fits, or a flag has nothing to replace.
    """
    how: list[str] = []
    if tables is None:
        name, tables = _base(flags)
        how.append(f"base recipe {name}" + ("" if flags.recipe else f", the one for {_asked(flags)}"))
    recipe: dict[str, Any] = copy.deepcopy(dict(tables))
    if flags.dataset is not None:
        how += exchange.dataset(recipe, flags.dataset)
    names_data = [said for said in flags.overrides if said.partition("=")[0].strip() == "data.use"]
    for assignment in names_data:  # before the rest: the recipe adapts to the data set, however it is named
        override.apply(recipe, assignment)
    how += _adapt(recipe)
    how += _apply_budget(recipe, flags.budget)
    for kind, replace in exchange.REPLACE.items():
        value = getattr(flags, kind)
        if value is not None:
            how += replace(recipe, value)
    if flags.data_dir is not None:
        recipe.setdefault("data", {"use": "digits"})["path"] = flags.data_dir
    if flags.seed is not None:
        recipe["seed"] = flags.seed
    for assignment in flags.overrides:
        if assignment not in names_data:
            override.apply(recipe, assignment)
    recipe.pop("base", None)
    return recipe, how


def _base(flags: Flags) -> tuple[str, dict[str, Any]]:
    if flags.recipe is not None:
        return flags.recipe, inherit.installed(flags.recipe)
    if flags.objective is None:
        raise UsageError("nothing says what to train: give --objective NAME or --recipe NAME")
    registry.find("objective", flags.objective, "--objective")
    for kind in ("generator", "selector"):
        if (asked := getattr(flags, kind)) is not None:
            registry.find(kind, asked, f"--{kind}")
    fitting: list[tuple[int, str]] = []
    broken: list[str] = []
    for name in registry.recipes():
        try:
            base = inherit.own(name).get("base", {})
        except UsageError as error:  # a stranger's broken recipe takes no other one down
            broken.append(str(error))
            continue
        if score := _fit(base, flags):
            fitting.append((score, name))
    if not fitting:
        raise UsageError(
            f"no recipe is a base for {_asked(flags)}; choose one with --recipe NAME: {', '.join(registry.recipes())}"
            + "".join(f"; passed over: {sentence}" for sentence in broken)
        )
    best = max(score for score, _ in fitting)
    names = [name for score, name in fitting if score == best]
    if len(names) > 1:
        raise UsageError(f"{_asked(flags)} fits several recipes, {', '.join(names)}; choose with --recipe")
    return names[0], inherit.installed(names[0])


def _fit(base: Mapping[str, Any], flags: Flags) -> int:
    """Score how well a recipe is a base: for this very generator and selector, for any, or (0) for others."""
    offered = {"generator": base.get("generator"), "selector": base.get("selector")}
    asked = {"generator": flags.generator or "none", "selector": flags.selector}
    if base.get("objective") != flags.objective:
        return 0
    if any(offered[kind] not in (None, asked[kind]) for kind in offered):
        return 0
    return 1 + (offered["generator"] is not None) + 2 * (offered["selector"] is not None)


def _asked(flags: Flags) -> str:
    parts = [
        f"{kind} {value}"
        for kind in ("generator", "objective", "selector")
        if (value := getattr(flags, kind)) is not None
    ]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 2 else parts)


def _adapt(recipe: dict[str, Any]) -> list[str]:
    """Apply ``[adapt.DATASET]``: what a data set needs to be different, e.g. no mirrored digits."""
    adaptations = _paths(recipe, "adapt")
    name = exchange.used(recipe.get("data", {"use": "digits"}))
    changes = adaptations.get(name, {})
    for path, value in changes.items():
        override.put(recipe, path, value, f"adapt.{name}")
    return [f"adapted to {name}: {_assignments(changes)}"] if changes else []


def _paths(recipe: dict[str, Any], key: str) -> dict[str, dict[str, Any]]:
    """Take tables of dotted paths out of a recipe."""
    found = recipe.pop(key, {})
    if not isinstance(found, Mapping) or not all(isinstance(table, Mapping) for table in found.values()):
        raise UsageError(f"{key}: write tables of paths and values, e.g. [{key}.NAME]")
    return dict(found)


def _assignments(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{path}={value}" for path, value in changes.items())


def _apply_budget(recipe: dict[str, Any], budget: str | None) -> list[str]:
    """Apply ``[budget.NAME]``: dotted paths and their values."""
    budgets = _paths(recipe, "budget")
    if budget is None:
        return []
    if budget == "paper":
        return ["budget paper: the recipe as published"]
    if budget not in budgets:
        known = ["paper", *budgets]
        raise UsageError(f"the recipe has no budget {budget!r}{near(budget, known)}; it has {', '.join(known)}")
    for path, value in budgets[budget].items():
        override.put(recipe, path, value, f"budget.{budget}")
    return [f"budget {budget}: {_assignments(budgets[budget])}"]
