"""Where a study comes from: an installed one or a file, scaled to a data set and a budget."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustcl import registry
from robustcl.composition import choice, exchange
from robustcl.composition.choice import Flags
from robustcl.errors import RobustclError, UsageError
from robustcl.recipe import inherit, override, reading
from robustcl.study.grammar import Row, Study
from robustcl.study.parsing import parse


def tables(name: str) -> dict[str, Any]:
    """Return the tables of an installed study, or of a file where the name ends with ``.toml``.

    Raises:
        UsageError: it is unknown, cannot be read, or is no TOML.
    """
    if name.endswith(".toml"):
        return reading.read(Path(name), "study")
    text = registry.study_text(name)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"the study {name!r} of {registry.studies()[name]} is not TOML: {error}") from None


def read(name: str, *, dataset: str | None = None, budget: str = "small") -> Study:
    """Return a study as a data set and a budget change it: ``[adapt.DATASET]`` first, then ``[budget.NAME]``.

    Both are tables of dotted paths and values of the study itself; their table ``set`` is joined with the study's.
    """
    changed = copy.deepcopy(tables(name))
    adaptations, budgets = changed.pop("adapt", {}), changed.pop("budget", {})
    where = f"the study {name}"
    for key, found in (("adapt", adaptations), ("budget", budgets)):
        if not isinstance(found, Mapping):
            raise UsageError(f"{where}: {key} = {found!r} is not accepted; give tables [{key}.NAME]")
    plain = parse(changed, where)
    use = (dataset or _dataset(plain, name)).partition(":")[0]
    for place, changes in ((f"adapt.{use}", adaptations.get(use, {})), (f"budget.{budget}", budgets.get(budget, {}))):
        _change(changed, changes, f"{place} of {where}")
    return parse(changed, where)


def read_base(row: Row, study: str) -> tuple[str, dict[str, Any]]:
    """Return name and whole tables of the recipe that a row starts from; a file is looked for beside the study's.

    Raises:
        UsageError: there is no such recipe, or none for the row's objective.
    """
    parts = Flags(generator=row.generator, objective=row.objective, selector=row.selector)
    use = row.recipe or choice.choose_base(parts)
    return use, inherit.read_named(use, Path(study).parent if study.endswith(".toml") else Path())


def _dataset(study: Study, name: str) -> str:
    row = next((row for row in study.row if row.is_trained), None)
    if row is None:
        return "digits"
    try:
        return exchange.plugin_of(read_base(row, name)[1].get("data", {"use": "digits"}))
    except UsageError as error:
        raise place_in_row(error, name, row.name) from None


def place_in_row(error: RobustclError, study: str, row: str) -> RobustclError:
    """Return an error with the study and the row that it is about; what a flag says elsewhere, a key of a row says."""
    said = _FLAG.sub(r"\1", str(error))
    return type(error)(f"the study {study}, row {row!r}: {said}")


_FLAG = re.compile(r"--(recipe|generator|objective|selector|target)\b")


def _change(changed: dict[str, Any], changes: Any, where: str) -> None:
    if not isinstance(changes, Mapping):
        raise UsageError(f"{where}: write a table of paths and values")
    for path, value in changes.items():
        if path == "set" and not isinstance(value, Mapping):
            raise UsageError(f"{where}: set = {value!r} is not accepted; give a table of paths and values")
        if path == "set":
            changed.setdefault("set", {}).update(copy.deepcopy(value))
        else:
            override.put(changed, path, copy.deepcopy(value), where)
