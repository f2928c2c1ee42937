"""From flags to a recipe: the base that fits them, the budget, the replaced parts, the dotted overrides.

The order is base, data set, budget, flags, overrides: what is said last and most precisely wins. What the data set and
the budget say of an attack's steps reaches whatever generator stands there in the end.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from robustcl import inherit, override, reading, registry
from robustcl.composition import exchange, naming
from robustcl.errors import UsageError, near

SMALL = "small"
"""The budget that is meant where none is named."""


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
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Base:
    """A recipe before a part of it is replaced: its tables for a data set and at a budget, and what these two changed.

    parts: what stood in it before anything was changed. settings: of ``adapt.NAME`` and ``budget.NAME``, in words, the
    paths and values.
    """

    tables: dict[str, Any]
    parts: dict[str, tuple[str, str]]
    settings: Mapping[str, Mapping[str, Any]]
    budget: str | None
    how: tuple[str, ...] = ()


def choose(flags: Flags, tables: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], list[str]]:
    """Return a recipe's tables and, in words, how they came about.

    Args:
        flags: the parts to replace.
        tables: start from these (a recipe file) and not from an installed recipe.

    Raises:
        UsageError: no recipe fits, or a flag has nothing to replace.
    """
    base = based(flags, tables)
    recipe = filled(flags, base)
    how: list[str] = []
    for kind, replace in exchange.REPLACE.items():
        value = getattr(flags, kind)
        if value is not None:
            how += replace(recipe, value)
    for assignment in _but_data(flags):
        override.apply(recipe, assignment)
    backbone = [f"encoder.use={flags.encoder}"] if flags.encoder is not None else []
    reached = settle(recipe, base, [*backbone, *_but_data(flags)], flags.name)
    return recipe, [*base.how, *said(recipe, base), *how, *reached]


def based(flags: Flags, tables: Mapping[str, Any] | None = None) -> Base:
    """Return the recipe that flags start from, for their data set and at their budget; arguments as ``choose``."""
    how: list[str] = []
    file = flags.recipe is not None and inherit.is_file(flags.recipe)
    if tables is None:
        name, tables = _base(flags)
        how.append(f"base recipe {name}" + ("" if flags.recipe else f", the one for {_asked(flags)}"))
    recipe: dict[str, Any] = copy.deepcopy(dict(tables))
    if file:
        reading.parse(recipe, str(flags.recipe))  # flags reach into tables that must be of its grammar
    parts = naming.parts(recipe)
    if flags.dataset is not None:
        how += exchange.dataset(recipe, flags.dataset)
    for assignment in flags.overrides:
        if assignment not in _but_data(
            flags
        ):  # before the rest: the recipe adapts to the data set, however it is named
            override.apply(recipe, assignment)
    budget = flags.budget
    if file and budget is None and SMALL in _mapping(recipe.get("budget")):
        budget = SMALL
    settings = _adapt(recipe) | _apply_budget(recipe, budget)
    if budget == "paper":
        how.append("budget paper: the recipe as published")
    return Base(recipe, parts | naming.parts(recipe), settings, budget, tuple(how))


def filled(flags: Flags, base: Base) -> dict[str, Any]:
    """Return the base's tables with the seed and the data's path, to be changed."""
    recipe = copy.deepcopy(base.tables)
    if flags.data_dir is not None:
        recipe.setdefault("data", {"use": "digits"})["path"] = flags.data_dir
    if flags.seed is not None:
        recipe["seed"] = flags.seed
    recipe.pop("base", None)
    return recipe


def settle(recipe: dict[str, Any], base: Base, changed: Sequence[str], name: str | None = None) -> list[str]:
    """Finish tables in which parts were replaced: steps that the data set asks for, the name; return it in words.

    changed: what was changed beside the parts, as ``path=value``.
    """
    reached = _reach(recipe, base)
    came = {now[1] for place, now in naming.parts(recipe).items() if base.parts.get(place) != now}
    differing = [text for text in changed if text.partition("=")[2].strip(" \"'") not in came]  # told as replaced
    naming.settle(recipe, base.parts, budget=base.budget, changed=differing, name=name)
    return reached


def said(recipe: Mapping[str, Any], base: Base) -> list[str]:
    """Return in words what the data set and the budget have set, as far as it still stands."""
    lines = []
    for where, changes in base.settings.items():
        kind, _, name = where.partition(".")
        kept = {path: value for path, value in changes.items() if override.get(recipe, path) == value}
        head = f"adapted to {name}" if kind == "adapt" else f"budget {name}"
        lines += [f"{head}: {_assignments(kept)}"] if kept else []
    return lines


def _but_data(flags: Flags) -> list[str]:
    return [text for text in flags.overrides if text.partition("=")[0].strip() != "data.use"]


def _base(flags: Flags) -> tuple[str, dict[str, Any]]:
    if flags.recipe is not None:
        return flags.recipe, inherit.named(flags.recipe)
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


def _adapt(recipe: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Apply ``[adapt.DATASET]``: what a data set needs to be different, e.g. no mirrored digits."""
    adaptations = _paths(recipe, "adapt")
    name = exchange.used(recipe.get("data", {"use": "digits"}))
    changes = adaptations.get(name, {})
    for path, value in changes.items():
        override.put(recipe, path, copy.deepcopy(value), f"adapt.{name}")
    return {f"adapt.{name}": dict(changes)}


def _paths(recipe: dict[str, Any], key: str) -> dict[str, dict[str, Any]]:
    """Take tables of dotted paths out of a recipe."""
    found = recipe.pop(key, {})
    if not isinstance(found, Mapping) or not all(isinstance(table, Mapping) for table in found.values()):
        raise UsageError(f"{key}: write tables of paths and values, e.g. [{key}.NAME]")
    return dict(found)


def _assignments(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{path}={value}" for path, value in changes.items())


def _apply_budget(recipe: dict[str, Any], budget: str | None) -> dict[str, dict[str, Any]]:
    """Apply ``[budget.NAME]``: dotted paths and their values."""
    budgets = _paths(recipe, "budget")
    done = _mapping(recipe.get("made")).get("budget")
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


def _reach(recipe: dict[str, Any], base: Base) -> list[str]:
    """Give generators that came later the steps that data set and budget ask for, where they have such options."""
    notes: dict[str, str] = {}
    for where, changes in reversed(list(base.settings.items())):  # the budget was applied last
        for path, value in changes.items():
            option = path.rpartition(".")[2]
            if option in _STEPS:
                notes |= {place: f"{place} = {value}, as {where} says" for place in _given(recipe, path, option, value)}
    return list(notes.values())


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
        for key, table in _mapping(tables).items():
            if name and name[0] in _mapping(tables) and key != name[0]:
                continue
            full = {"use": table} if isinstance(table, str) else table
            if isinstance(full, Mapping) and option not in full and exchange.takes("generator", full, option, value):
                entry["generator"][key] = {**full, option: value}
                found.append(f"stage.{stage}.generator.{key}.{option}")
    return found


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
