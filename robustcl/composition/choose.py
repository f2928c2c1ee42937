"""From flags to a recipe: the base that fits them, the budget, the replaced parts, the dotted overrides.

The order is base, data set, budget, flags, overrides: what is said last and most precisely wins.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from robustcl import override, registry
from robustcl.errors import UsageError, near
from robustcl.options import describe
from robustcl.protocols import Need


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
        how += _replace_dataset(recipe, flags.dataset)
    how += _adapt(recipe)
    how += _apply_budget(recipe, flags.budget)
    for kind, replace in _REPLACE.items():
        value = getattr(flags, kind)
        if value is not None:
            how += replace(recipe, value)
    if flags.data_dir is not None:
        recipe.setdefault("data", {"use": "digits"})["path"] = flags.data_dir
    if flags.seed is not None:
        recipe["seed"] = flags.seed
    for assignment in flags.overrides:
        override.apply(recipe, assignment)
    recipe.pop("base", None)
    return recipe, how


def _base(flags: Flags) -> tuple[str, dict[str, Any]]:
    if flags.recipe is not None:
        return flags.recipe, tomllib.loads(registry.recipe_text(flags.recipe))
    if flags.objective is None:
        raise UsageError("nothing says what to train: give --objective NAME or --recipe NAME")
    registry.find("objective", flags.objective, "--objective")
    if flags.generator is not None:
        registry.find("generator", flags.generator, "--generator")
    fitting: list[tuple[int, str, dict[str, Any]]] = []
    for name in registry.recipes():
        tables = tomllib.loads(registry.recipe_text(name))
        base = tables.get("base", {})
        if base.get("objective") == flags.objective:
            score = _fit(base.get("generator"), flags.generator)
            if score:
                fitting.append((score, name, tables))
    if not fitting:
        raise UsageError(
            f"no recipe is a base for {_asked(flags)}; choose one with --recipe NAME: {', '.join(registry.recipes())}"
        )
    best = max(score for score, _, _ in fitting)
    names = [(name, tables) for score, name, tables in fitting if score == best]
    if len(names) > 1:
        raise UsageError(
            f"{_asked(flags)} fits several recipes, {', '.join(n for n, _ in names)}; choose with --recipe"
        )
    return names[0]


def _fit(offered: str | None, asked: str | None) -> int:
    """Score how well a base recipe's generator fits: the very one, any, or (0) another one."""
    if offered == (asked or "none"):
        return 2
    return 1 if offered is None else 0


def _asked(flags: Flags) -> str:
    parts = [f"{kind} {value}" for kind in ("generator", "objective") if (value := getattr(flags, kind)) is not None]
    return " and ".join(parts)


def _adapt(recipe: dict[str, Any]) -> list[str]:
    """Apply ``[adapt.DATASET]``: what a data set needs to be different, e.g. no mirrored digits."""
    adaptations = _paths(recipe, "adapt")
    name = _use(recipe.get("data", {"use": "digits"}))
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


def _replace_generator(recipe: dict[str, Any], name: str) -> list[str]:
    stages = [stage for stage in recipe["stage"] if stage.get("generator")]
    if not stages:
        if name == "none":
            return []
        raise UsageError(f"--generator {name}: the recipe has no generator to replace; choose another with --recipe")
    notes: list[str] = []
    borrows = Need.OBJECTIVE in registry.find("generator", name, "--generator").cls.needs  # type: ignore[attr-defined]
    for stage in stages:
        for key, table in stage["generator"].items():
            if not borrows and isinstance(table, dict):
                table.pop("maximise", None)
            notes += _exchange(stage["generator"], key, "generator", name, f"stage.{stage['name']}.generator.{key}")
        notes += _drop_unread_targets(stage)
    return notes


def _drop_unread_targets(stage: dict[str, Any]) -> list[str]:
    """Remove the clusters that only the replaced generator read."""
    if "targets" not in stage or str(stage.get("labels", "data")) != "data":
        return []
    tables = [("generator", table) for table in stage["generator"].values()]
    tables += [("objective", table) for table in (*stage.get("term", {}).values(), *_objective(stage))]
    for kind, table in tables:
        if Need.CLUSTERS in registry.get(kind, _use(table)).needs:  # type: ignore[attr-defined]
            return []
    del stage["targets"]
    return [f"stage.{stage['name']}: targets removed, nothing reads them any more"]


def _objective(stage: Mapping[str, Any]) -> list[Any]:
    return [stage["objective"]] if "objective" in stage else []


def _replace_objective(recipe: dict[str, Any], name: str) -> list[str]:
    terms, where = _last_terms(recipe)
    if any(_use(table) == name for _, table in terms):
        return []
    if len(terms) > 1:
        names = ", ".join(key for key, _ in terms)
        raise UsageError(
            f"--objective {name}: {where} has the terms {names}; say which with --set {where}.term.NAME.use"
        )
    stage = recipe["stage"][-1]
    key = terms[0][0]
    box = stage if key == "objective" and "objective" in stage else stage["term"]
    notes = _exchange(box, key, "objective", name, f"{where}.{key}")
    box[key].pop("mix", None)
    return notes


def _replace_selector(recipe: dict[str, Any], name: str) -> list[str]:
    terms, where = _last_terms(recipe)
    readers = [
        (key, table) for key, table in terms
        if Need.PAIRS in registry.get("objective", _use(table)).needs  # type: ignore[attr-defined]
    ]  # fmt: skip
    if not readers:
        used = ", ".join(_use(table) for _, table in terms)
        raise UsageError(f"--selector {name}: nothing in {where} reads pairs ({used}); leave the flag out")
    stage = recipe["stage"][-1]
    for key, table in readers:
        box = stage if key == "objective" and "objective" in stage else stage["term"]
        box[key] = {**({"use": table} if isinstance(table, str) else table), "selector": {"use": name}}
    return [f"selector {name} in {where}"]


def _replace_target(recipe: dict[str, Any], name: str) -> list[str]:
    stage = recipe["stage"][-1]
    if "targets" in stage:
        return _exchange(stage, "targets", "target", name, f"stage.{stage['name']}.targets")
    stage["targets"] = {"use": name}
    return [f"target {name} added to stage.{stage['name']}: features h of the plain images, K by silhouette"]


def _replace_encoder(recipe: dict[str, Any], name: str) -> list[str]:
    if "use" in recipe.get("encoder", {}):
        return _exchange(recipe, "encoder", "encoder", name, "encoder")
    recipe["encoder"] = {**recipe.get("encoder", {}), "use": name}
    return []


def _replace_dataset(recipe: dict[str, Any], name: str) -> list[str]:
    return _exchange(recipe.setdefault("data", {"use": name}), None, "dataset", name, "data")


def _exchange(box: dict[str, Any], key: str | None, kind: str, name: str, where: str) -> list[str]:
    """Put another plugin into a table; keep the core's keys, and the options that the new plugin has too."""
    table = box if key is None else box[key]
    table = {"use": table} if isinstance(table, str) else table
    if table["use"] == name:
        if key is not None:
            box[key] = table
        return []
    before = table["use"]
    mine = {option.name for option in describe(registry.get(kind, table["use"]))}
    theirs = {option.name for option in describe(registry.find(kind, name, f"--{kind}").cls)}
    dropped = [option for option in table if option in mine - theirs]
    kept = {option: value for option, value in table.items() if option not in dropped} | {"use": name}
    if key is None:
        box.clear()
        box.update(kept)
    else:
        box[key] = kept
    lost = f", without {', '.join(dropped)}" if dropped else ""
    return [f"{where}: {before} replaced by {name}{lost}"]


def _last_terms(recipe: dict[str, Any]) -> tuple[list[tuple[str, Any]], str]:
    stage = recipe["stage"][-1]
    terms = list(stage.get("term", {}).items())
    if "objective" in stage:
        terms.append(("objective", stage["objective"]))
    return terms, f"stage.{stage['name']}"


def _use(table: Any) -> str:
    return str(table.get("use", "")) if isinstance(table, Mapping) else str(table)


_REPLACE = {
    "generator": _replace_generator,
    "objective": _replace_objective,
    "selector": _replace_selector,
    "target": _replace_target,
    "encoder": _replace_encoder,
}
