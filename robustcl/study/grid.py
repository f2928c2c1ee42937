"""The grid of a study: every row, at every point of its axes, with every seed, as a checked composition."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from robustcl.analysis.other_data import slug
from robustcl.api import Composition, from_tables
from robustcl.composition import choice, naming, settings
from robustcl.composition.choice import Flags
from robustcl.composition.lock import digest
from robustcl.errors import RobustclError, UsageError
from robustcl.options.arrays import whole
from robustcl.recipe import Use, inherit, override
from robustcl.study import elsewhere, source
from robustcl.study.elsewhere import Elsewhere
from robustcl.study.grammar import Row, Study
from robustcl.study.models import ModelSource


@dataclass(frozen=True, slots=True)
class Planned:
    """One run of the grid. ``label`` names row and point; ``folder`` its directory; equal digests are the same run.

    elsewhere: what the row's columns ask of the run on another data set.
    """

    label: str
    row: Row
    point: Mapping[str, Any]
    seed: int
    composition: Composition
    digest: str
    folder: str
    elsewhere: Elsewhere | None = None


@dataclass(frozen=True, slots=True)
class Spot:
    """One line of the table: a row at one point of the axes, and the other data set that it is about, if any.

    title: the label without that data set, the name of a run that does not look at it.
    """

    label: str
    title: str
    row: Row
    point: Mapping[str, Any]
    other: Use | None


@dataclass(frozen=True, slots=True)
class Setting:
    """What the person asks for: all of it applies to every row.

    others: data sets in place of the study's ``other``. samples: judge only the first so many test images.
    models: row -> a model that somebody else has trained, judged in place of a run of the row's recipe.
    """

    dataset: str | None = None
    data_dir: str | None = None
    budget: str = "small"
    seeds: int = 1
    overrides: Sequence[str] = ()
    others: Sequence[str] = ()
    samples: int | None = None
    models: Mapping[str, ModelSource] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", whole(self.seeds, "seeds", least=0))
        object.__setattr__(self, "samples", None if self.samples is None else whole(self.samples, "samples"))


def plan(name: str, study: Study, setting: Setting) -> list[Planned]:
    """Compose every run; nothing is opened and nothing is trained.

    Raises:
        UsageError: a row that does not compose; the sentence names study and row.
    """
    if setting.seeds < 1:
        raise UsageError(f"--seeds {setting.seeds}: a study needs one seed at least")
    planned: list[Planned] = []
    folders: dict[str, str] = {}
    spots = [spot for spot in points(study) if spot.row.recipe is not None and not setting.models]
    names = _slugs([_name(spot) for spot in spots])
    for spot in spots:
        for seed in range(setting.seeds):
            where = f"the study {study.name}, row {spot.label!r}"
            try:
                composition = _compose(name, study, spot, seed, setting)
            except RobustclError as error:
                raise type(error)(f"{where}: {error}") from error.__cause__
            key = digest(composition)
            folder = folders.setdefault(key, f"{names[_name(spot)]}-seed{seed}")
            judged = _elsewhere(study, spot, composition, where)
            planned.append(Planned(spot.label, spot.row, spot.point, seed, composition, key, folder, judged))
    return planned


def points(study: Study) -> Iterator[Spot]:
    """Go through the lines of the table: each row at each point of the axes, for each of the other data sets."""
    others: list[Use | None] = [*study.other] or [None]
    for other, row in itertools.product(others, study.row):
        for values in itertools.product(*(axis.values for axis in study.axis)):
            point = {axis.name: value for axis, value in zip(study.axis, values, strict=True)}
            where = ", ".join(f"{axis} = {value}" for axis, value in point.items())
            title = where if where and len(study.row) == 1 else ", ".join(filter(None, (row.name, where)))
            if other is None:
                yield Spot(title, title, row, point, None)
                continue
            label = f"{title}, on {show_dataset(other)}" if len(study.other) > 1 else title
            yield Spot(label, title, row, {**point, "on": show_dataset(other)}, other)


def show_dataset(other: Use) -> str:
    """Return a data set in words: a file or folder by its name, options as they stand."""
    options = ", ".join(f"{key} = {value}" for key, value in other.options.items() if key != "path")
    name = slug(other.use)
    return f"{name} ({options})" if options else name


def _name(spot: Spot) -> str:
    """Return what a run is called: without the data sets that it does not look at."""
    return spot.label if spot.row.on == "other" else spot.title


def _elsewhere(study: Study, spot: Spot, composition: Composition, where: str) -> Elsewhere | None:
    if spot.other is None or spot.row.on == "other":
        return None
    return elsewhere.plan_elsewhere(spot.other, composition, study.columns_of(spot.row), where)


def _compose(name: str, study: Study, spot: Spot, seed: int, setting: Setting) -> Composition:
    row, use, data_dir = spot.row, setting.dataset, setting.data_dir
    assert row.recipe is not None
    base = source.recipe(row.recipe, name)
    before = naming.parts(base)
    where = f"row.{row.name}"
    for path in row.drop:
        inherit.drop(base, path, f"{where}.drop")
    own = spot.other if row.on == "other" else None
    if own is not None:
        use, data_dir = own.use, None
    flags = Flags(dataset=use, data_dir=data_dir, budget=setting.budget, seed=seed)
    start = choice.find_base(flags, base)
    tables = choice.fill(flags, start)
    if own is not None:
        tables["data"] |= own.options
    paths = {axis.path: spot.point[axis.name] for axis in study.axis}
    changes = [("set", study.set), (f"{where}.set", row.set), ("axis", paths)]
    for place, values in changes:
        for path, value in values.items():
            override.put(tables, path, value, place)
    for assignment in setting.overrides:
        override.apply(tables, assignment)
    for entry in tables.get("evaluate", []) if setting.samples is not None else []:
        entry["samples"] = setting.samples
    texts = [f"{path}={value}" for _, values in changes for path, value in values.items()]
    start = dataclasses.replace(start, parts=before | start.parts)
    reached = choice.settle(tables, start, [*texts, *setting.overrides])
    how = [f"recipe {row.recipe}", *start.how, *settings.describe_changes(tables, start.settings), *reached]
    return from_tables(tables, f"the recipe {row.recipe}", how)


def _slugs(labels: Sequence[str]) -> dict[str, str]:
    """Return a folder's name for each label, never the same one for two."""
    found: dict[str, str] = {}
    for label in dict.fromkeys(labels):
        plain = re.sub(r"[^a-z0-9.]+", "-", label.lower()).strip("-.") or "row"
        while plain in found.values():
            plain += "-again"
        found[label] = plain
    return found
