"""From flags to a recipe: the base that fits them, the budget, the replaced parts, the dotted overrides.

The order is base, data set, budget, flags, overrides: what is said last and most precisely wins. What the data set and
the budget say of an attack's steps reaches whatever generator stands there in the end.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from robustcl import registry
from robustcl.composition import exchange, naming, settings
from robustcl.composition.settings import Settings
from robustcl.errors import UsageError
from robustcl.recipe import inherit, override, reading

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
    settings: Settings
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
    _refuse_account(flags)
    base = find_base(flags, tables)
    recipe = fill(flags, base)
    how = replace_parts(recipe, flags)
    for assignment in _but_data(flags):
        override.apply(recipe, assignment)
    backbone = [f"encoder.use={flags.encoder}"] if flags.encoder is not None else []
    reached = settle(recipe, base, [*backbone, *_but_data(flags)], _name(flags))
    return recipe, [*base.how, *settings.describe_changes(recipe, base.settings), *how, *reached]


def find_base(flags: Flags, tables: Mapping[str, Any] | None = None) -> Base:
    """Return the recipe that flags start from, for their data set and at their budget; arguments as ``choose``."""
    how: list[str] = []
    file = flags.recipe is not None and inherit.is_file(flags.recipe)
    if tables is None:
        name = choose_base(flags)
        tables = inherit.read_named(name)
        how.append(f"base recipe {name}" + ("" if flags.recipe else f", the one for {_asked(flags)}"))
    recipe: dict[str, Any] = copy.deepcopy(dict(tables))
    if file:
        reading.parse(recipe, str(flags.recipe))  # flags reach into tables that must be of its grammar
    parts = naming.parts(recipe)
    if flags.dataset is not None:
        how += exchange.dataset(recipe, flags.dataset)
    for assignment in flags.overrides:
        if _split(assignment)[0] == "data.use":  # before the rest: the recipe adapts to it, however it is named
            override.apply(recipe, assignment)
    budget = flags.budget
    if file and budget is None and SMALL in settings.as_mapping(recipe.get("budget")):
        budget = SMALL
    changed = settings.adapt(recipe) | settings.spend(recipe, budget)
    if budget == "paper":
        how.append("budget paper: the recipe as published")
    return Base(recipe, parts | naming.parts(recipe), changed, budget, tuple(how))


def choose_base(flags: Flags) -> str:
    """Return the name of the recipe that flags start from.

    Raises:
        UsageError: nothing says what to train, no recipe fits, or several do.
    """
    if flags.recipe is not None:
        return flags.recipe
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
    return names[0]


def fill(flags: Flags, base: Base) -> dict[str, Any]:
    """Return the base's tables with the seed and the data's path, to be changed."""
    recipe = copy.deepcopy(base.tables)
    if flags.data_dir is not None:
        recipe.setdefault("data", {"use": "digits"}).update(exchange.files(flags.dataset, flags.data_dir))
    if flags.seed is not None:
        recipe["seed"] = flags.seed
    recipe.pop("base", None)
    return recipe


def replace_parts(recipe: dict[str, Any], flags: Flags) -> list[str]:
    """Put the plugins that flags name into tables, in place; returns in words what went and what came."""
    notes: list[str] = []
    for kind, replace in exchange.REPLACE.items():
        value = getattr(flags, kind)
        if value is not None:
            notes += replace(recipe, value)
    return notes


def settle(recipe: dict[str, Any], base: Base, changed: Sequence[str], name: str | None = None) -> list[str]:
    """Finish tables in which parts were replaced: steps that the data set asks for, the name; return it in words.

    changed: what was changed beside the parts, as ``path=value``.
    """
    reached = settings.reach(recipe, base.settings)
    came = {now[1] for place, now in naming.parts(recipe).items() if base.parts.get(place) != now}
    last = dict(_split(text) for text in changed)  # of a path that was given twice, the last value holds
    differing = [
        f"{path}={value}"
        for path, value in last.items()
        if not (_PART.search(path) and value.strip("\"'") in came)  # told as replaced
    ]
    naming.settle(recipe, base.parts, budget=base.budget, changed=differing, name=name)
    return reached


_PART = re.compile(r"(^|\.)((generator|term)(\.[^.]+)?|objective|selector|targets|sampler)(\.use)?$")
"""Paths at which a part of the method stands."""


def _but_data(flags: Flags) -> list[str]:
    return [text for text in flags.overrides if _split(text)[0] not in ("data.use", "name")]


def _split(assignment: str) -> tuple[str, str]:
    path, _, value = assignment.partition("=")
    return path.strip(), value.strip()


def _name(flags: Flags) -> str | None:
    """Return the name that a person gives, by the flag or by ``--set name=``, which means the same."""
    given = [value.strip("\"'") for path, value in map(_split, flags.overrides) if path == "name"]
    return flags.name if flags.name is not None or not given else naming.check(given[-1], "--set name=")


def _refuse_account(flags: Flags) -> None:
    """What a recipe was made from is told by who makes it, and not by hand."""
    for assignment in flags.overrides:
        head = _split(assignment)[0].partition(".")[0]
        if head in ("made", "lock"):
            raise UsageError(f"--set {assignment}: the table {head} tells how the recipe was made; leave it out")


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
