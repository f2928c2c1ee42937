"""One run of a study: a row's recipe with its parts replaced, and everything that study, row and axes change in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from robustcl.api import Composition, from_tables
from robustcl.composition import choice, naming, settings
from robustcl.composition.choice import Flags
from robustcl.errors import RobustclError
from robustcl.recipe import inherit, override
from robustcl.study.grammar import source
from robustcl.study.grammar.spots import Spot
from robustcl.study.grammar.study import Study
from robustcl.study.plan.setting import Setting


@dataclass(frozen=True, slots=True)
class Changes:
    """What equal terms change in a row's recipe, paths and values: before what the row sets, and after all else."""

    optimizer: Mapping[str, Any] = field(default_factory=dict)
    tuned: Mapping[str, Any] = field(default_factory=dict)
    epochs: Mapping[str, Any] = field(default_factory=dict)


def compose_row(
    name: str, study: Study, spot: Spot, seed: int, setting: Setting, changes: Changes | None = None
) -> Composition:
    """Compose the run of a row at a point of the axes; ``name`` is the study's as it was asked for.

    Raises:
        UsageError: it does not compose; the sentence names study and row.
    """
    try:
        return _compose(name, study, spot, seed, setting, changes or Changes())
    except RobustclError as error:
        raise source.place_in_row(error, study.name, spot.label) from error.__cause__


def _compose(name: str, study: Study, spot: Spot, seed: int, setting: Setting, changes: Changes) -> Composition:
    row, use, data_dir = spot.row, setting.dataset, setting.data_dir
    own = spot.other if row.on == "other" else None
    if own is not None:
        use, data_dir = own.use, None
    flags = Flags(
        generator=row.generator, objective=row.objective, selector=row.selector, target=row.target,
        dataset=use, data_dir=data_dir, budget=setting.budget, seed=seed,
    )  # fmt: skip
    recipe, base = source.read_base(row, name)
    before = naming.parts(base)
    where = f"row.{row.name}"
    for path in row.drop:
        inherit.drop(base, path, f"{where}.drop")
    start = choice.find_base(flags, base)
    tables = choice.fill(flags, start)
    if own is not None:
        tables["data"] |= own.options
    replaced = choice.replace_parts(tables, flags)
    axes = {axis.path: spot.point[axis.name] for axis in study.axis}
    told = [("set", study.set), (f"{where}.set", row.set), ("axis", axes)]
    for place, values in [("optimizer", changes.optimizer), *told]:
        for path, value in values.items():
            override.put(tables, path, value, place)
    for assignment in setting.overrides:
        override.apply(tables, assignment)
    for place, values in (("tuned", changes.tuned), ("equal", changes.epochs)):
        for path, value in values.items():
            override.put(tables, path, value, place)
    for entry in tables.get("evaluate", []) if setting.samples is not None else []:
        entry["samples"] = setting.samples
    beside = (changes.optimizer, *(values for _, values in told), changes.tuned, changes.epochs)
    texts = [f"{path}={value}" for values in beside for path, value in values.items()]
    start = dataclasses.replace(start, parts=before | start.parts)
    reached = choice.settle(tables, start, [*texts, *setting.overrides])
    how = [f"recipe {recipe}", *start.how, *settings.describe_changes(tables, start.settings), *replaced, *reached]
    return from_tables(tables, f"the recipe {recipe}", how)
