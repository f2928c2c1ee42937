"""The grid of a study: every row, at every point of its axes, with every seed, as a checked composition."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robustcl import inherit, override
from robustcl.composition import api
from robustcl.composition.api import Composition
from robustcl.composition.choose import Flags, choose
from robustcl.composition.lock import digest
from robustcl.errors import RobustclError, UsageError
from robustcl.study import source
from robustcl.study.grammar import Row, Study


@dataclass(frozen=True, slots=True)
class Planned:
    """One run of the grid. ``label`` names row and point; ``folder`` its directory; equal digests are the same run."""

    label: str
    row: Row
    point: Mapping[str, Any]
    seed: int
    composition: Composition
    digest: str
    folder: str


@dataclass(frozen=True, slots=True)
class Setting:
    """What the person asks for: all of it applies to every row."""

    dataset: str | None = None
    data_dir: str | None = None
    budget: str = "small"
    seeds: int = 1
    overrides: Sequence[str] = ()


def plan(name: str, study: Study, setting: Setting) -> list[Planned]:
    """Compose every run; nothing is opened and nothing is trained.

    Raises:
        UsageError: a row that does not compose; the sentence names study and row.
    """
    if setting.seeds < 1:
        raise UsageError(f"--seeds {setting.seeds}: a study needs one seed at least")
    planned: list[Planned] = []
    folders: dict[str, str] = {}
    lines = list(points(study))
    names = _slugs([label for label, _, _ in lines])
    for label, row, point in lines:
        for seed in range(setting.seeds):
            try:
                composition = _compose(name, study, row, point, seed, setting)
            except RobustclError as error:
                raise type(error)(f"the study {study.name}, row {label!r}: {error}") from error.__cause__
            key = digest(composition)
            folder = folders.setdefault(key, f"{names[label]}-seed{seed}")
            planned.append(Planned(label, row, point, seed, composition, key, folder))
    return planned


def points(study: Study) -> Iterator[tuple[str, Row, dict[str, Any]]]:
    """Go through the lines of the table: label, row, and the value on each axis."""
    for row in study.row:
        for values in itertools.product(*(axis.values for axis in study.axis)):
            point = {axis.name: value for axis, value in zip(study.axis, values, strict=True)}
            where = ", ".join(f"{axis} = {value}" for axis, value in point.items())
            yield where if where and len(study.row) == 1 else ", ".join(filter(None, (row.name, where))), row, point


def _compose(name: str, study: Study, row: Row, point: Mapping[str, Any], seed: int, setting: Setting) -> Composition:
    base = source.recipe(row.recipe, name)
    where = f"row.{row.name}"
    for path in row.drop:
        inherit.drop(base, path, f"{where}.drop")
    flags = Flags(dataset=setting.dataset, data_dir=setting.data_dir, budget=setting.budget, seed=seed)
    tables, how = choose(flags, base)
    paths = {axis.path: point[axis.name] for axis in study.axis}
    for place, changes in (("set", study.set), (f"{where}.set", row.set), ("axis", paths)):
        for path, value in changes.items():
            override.put(tables, path, value, place)
    for assignment in setting.overrides:
        override.apply(tables, assignment)
    return api.from_tables(tables, f"the recipe {row.recipe}", [f"recipe {row.recipe}", *how])


def dataset(planned: Planned) -> str:
    """Return the name of a run's data set, without what stands behind a colon."""
    return planned.composition.recipe.data.use.partition(":")[0]


def _slugs(labels: Sequence[str]) -> dict[str, str]:
    """Return a folder's name for each label, never the same one for two."""
    found: dict[str, str] = {}
    for label in labels:
        plain = re.sub(r"[^a-z0-9.]+", "-", label.lower()).strip("-.") or "row"
        while plain in found.values():
            plain += "-again"
        found[label] = plain
    return found
