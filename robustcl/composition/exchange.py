"""Putting another plugin into a recipe's tables, one function for each kind that has a flag.

The core's keys of a table stay, and so do the options that the new plugin has too; what is dropped is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from robustcl import hooks, registry
from robustcl.errors import OptionError, UsageError
from robustcl.hooks import GeneratorHooks
from robustcl.options import describe, resolve
from robustcl.protocols import Need


def generator(recipe: dict[str, Any], name: str) -> list[str]:
    """Replace the generator of every stage that has one."""
    stages = [stage for stage in recipe["stage"] if stage.get("generator")]
    if not stages:
        if name == "none":
            return []
        raise UsageError(f"--generator {name}: the recipe has no generator to replace; choose another with --recipe")
    notes: list[str] = []
    cls = registry.find("generator", name, "--generator").cls
    borrows = Need.OBJECTIVE in cls.needs  # type: ignore[attr-defined]
    for stage in stages:
        for key, table in stage["generator"].items():
            if not borrows and isinstance(table, dict):
                table.pop("maximise", None)
            where = f"stage.{stage['name']}.generator.{key}"
            notes += _exchange(stage["generator"], key, "generator", name, where)
            notes += _drop_unread_constants(stage["generator"][key], cls, where)
        notes += _drop_unread_targets(stage)
    return notes


def _drop_unread_constants(table: dict[str, Any], cls: type, where: str) -> list[str]:
    """Remove the constants that only the replaced generator read."""
    bound = table.get("constants", {})
    unread = [key for key in bound if key not in hooks.of(cls, GeneratorHooks).constants]
    for key in unread:
        del bound[key]
    return [f"{where}: without the constants {', '.join(unread)}, which nothing reads any more"] if unread else []


def _drop_unread_targets(stage: dict[str, Any]) -> list[str]:
    """Remove the clusters that only the replaced generator read."""
    if "targets" not in stage or str(stage.get("labels", "data")) != "data":
        return []
    tables = [("generator", table) for table in stage["generator"].values()]
    tables += [("objective", table) for table in (*stage.get("term", {}).values(), *_objective(stage))]
    for kind, table in tables:
        if Need.CLUSTERS in registry.get(kind, plugin_of(table)).needs:  # type: ignore[attr-defined]
            return []
    del stage["targets"]
    return [f"stage.{stage['name']}: targets removed, nothing reads them any more"]


def _objective(stage: Mapping[str, Any]) -> list[Any]:
    return [stage["objective"]] if "objective" in stage else []


def objective(recipe: dict[str, Any], name: str) -> list[str]:
    """Replace the only term's objective in the last stage."""
    terms, where = _last_terms(recipe)
    if any(plugin_of(table) == name for _, table in terms):
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


def selector(recipe: dict[str, Any], name: str) -> list[str]:
    """Set the selector of every term of the last stage that reads pairs."""
    terms, where = _last_terms(recipe)
    readers = [
        (key, table) for key, table in terms
        if Need.PAIRS in registry.get("objective", plugin_of(table)).needs  # type: ignore[attr-defined]
    ]  # fmt: skip
    if not readers:
        there = ", ".join(plugin_of(table) for _, table in terms)
        raise UsageError(f"--selector {name}: nothing in {where} reads pairs ({there}); leave the flag out")
    stage = recipe["stage"][-1]
    for key, table in readers:
        if isinstance(table, Mapping) and plugin_of(table.get("selector")) == name:
            continue  # with the options that the recipe gives it
        box = stage if key == "objective" and "objective" in stage else stage["term"]
        box[key] = {**({"use": table} if isinstance(table, str) else table), "selector": {"use": name}}
    return [f"selector {name} in {where}"]


def target(recipe: dict[str, Any], name: str) -> list[str]:
    """Replace or add the cluster targets of the last stage."""
    stage = recipe["stage"][-1]
    if "targets" in stage:
        return _exchange(stage, "targets", "target", name, f"stage.{stage['name']}.targets")
    stage["targets"] = {"use": name}
    return [f"target {name} added to stage.{stage['name']}: features h of the plain images, K by silhouette"]


def encoder(recipe: dict[str, Any], name: str) -> list[str]:
    """Name the backbone."""
    if "use" in recipe.get("encoder", {}):
        return _exchange(recipe, "encoder", "encoder", name, "encoder")
    recipe["encoder"] = {**recipe.get("encoder", {}), "use": name}
    return []


def dataset(recipe: dict[str, Any], name: str) -> list[str]:
    """Name the data set."""
    return _exchange(recipe.setdefault("data", {"use": name}), None, "dataset", name, "data")


def files(dataset: str | None, data_dir: str | None, flag: str = "--dataset ") -> dict[str, str]:
    """Return the option of a data set's files, where they are named beside it; ``flag`` stands before its name.

    Raises:
        UsageError: the data set's own name holds its files already, "npz:FILE".
    """
    if data_dir is None:
        return {}
    if dataset is not None and ":" in dataset:
        raise UsageError(f"{flag}{dataset} names its files already: leave out --data-dir {data_dir}")
    return {"path": data_dir}


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
    cls = registry.find(kind, name, f"--{kind}").cls
    dropped = [option for option, value in table.items() if option in mine and not _accepts(cls, option, value)]
    if not hooks.of(cls, GeneratorHooks).lockstep and table.get("mode", "eval") != "eval":
        dropped.append("mode")  # batch statistics would depend on which rows it still looks at
    kept = {option: value for option, value in table.items() if option not in dropped} | {"use": name}
    if key is None:
        box.clear()
        box.update(kept)
    else:
        box[key] = kept
    lost = f", without {', '.join(dropped)}" if dropped else ""
    return [f"{where}: {before} replaced by {name}{lost}"]


def takes(kind: str, table: Mapping[str, Any], option: str, value: Any) -> bool:
    """Say whether the plugin of a table has an option and can take this value for it."""
    try:
        return _accepts(registry.get(kind, plugin_of(table)), option, value)
    except UsageError:  # there is no such plugin, which is told when it is made
        return False


def _accepts(cls: type, option: str, value: Any) -> bool:
    """Say whether a plugin has this option and can take this value of another plugin's."""
    if option not in {known.name for known in describe(cls)}:
        return False
    required = [known.name for known in describe(cls) if known.required and known.name != option]
    try:
        resolve(cls, {option: value}, option)
    except OptionError:
        return bool(required)  # what else is missing is told when the plugin is made
    return True


def _last_terms(recipe: dict[str, Any]) -> tuple[list[tuple[str, Any]], str]:
    stage = recipe["stage"][-1]
    terms = list(stage.get("term", {}).items())
    if "objective" in stage:
        terms.append(("objective", stage["objective"]))
    return terms, f"stage.{stage['name']}"


def plugin_of(table: Any) -> str:
    """Return the plugin that a table, or a bare name, stands for."""
    return str(table.get("use", "")) if isinstance(table, Mapping) else str(table)


REPLACE: Mapping[str, Callable[[dict[str, Any], str], list[str]]] = {
    "generator": generator,
    "objective": objective,
    "selector": selector,
    "target": target,
    "encoder": encoder,
}
"""Flag -> what it does to the tables; the data set comes before, since budgets and adaptations rest on it."""
