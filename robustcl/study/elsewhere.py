"""A row's run judged on the study's other data set: what its columns ask for there, and the run that answers."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustcl.analysis.other_data import judged_on, slug
from robustcl.composition.lock import lock
from robustcl.composition.parts import Parts
from robustcl.composition.plan import RecipePlan
from robustcl.data.held import open_source
from robustcl.data.promises import class_names
from robustcl.errors import NotMeasured, UsageError
from robustcl.protocols import DatasetPlugin, Need
from robustcl.recipe import Use, override, reading
from robustcl.run.execution import resume
from robustcl.run.folder import reopen
from robustcl.run.splits import Splits
from robustcl.study.grammar import Accuracy, AnyColumn
from robustcl.study.places import evaluation
from robustcl.train.log import Watcher


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Another data set, the places of the evaluations of a recipe that are asked for there, and the run's folder."""

    dataset: Use
    places: tuple[int, ...]
    folder: str


def other(text: str) -> Use:
    """Return the data set of ``--other-dataset``: a name, or a table with options.

    Raises:
        UsageError: a table that names no data set.
    """
    tables: dict[str, Any] = {}
    override.apply(tables, f"other={text}", "--other-dataset")
    table = tables["other"]
    if isinstance(table, str):
        return Use(use=table)
    if not isinstance(table, Mapping) or not isinstance(table.get("use"), str):
        raise UsageError(f'--other-dataset {text}: name a data set, e.g. stl10 or {{ use = "digits", only = [5, 6] }}')
    return Use(**table)


def make_dataset(dataset: Use, where: str) -> DatasetPlugin:
    """Return the plugin of a data set; raises ``UsageError`` for an unknown one, or an option that it lacks."""
    plugin: DatasetPlugin = Parts().make("dataset", dataset, where).plugin
    return plugin


def plan_elsewhere(dataset: Use, composition: RecipePlan, columns: Sequence[AnyColumn], where: str) -> Elsewhere | None:
    """Return what the columns of a row ask of its run on another data set; ``None`` where they ask nothing.

    A column whose evaluation the recipe does not have asks nothing here: ``checks`` says so.
    """
    asked = []
    for column in columns:
        if isinstance(column, Accuracy) and column.on == "other":
            with contextlib.suppress(NotMeasured):
                asked.append(evaluation(composition, column.protocol, column.route, where)[0])
    if not asked:
        return None
    places = tuple(number for number, plan in enumerate(composition.evaluations) if plan in asked)
    entries = lock(composition)["evaluate"]
    question = [dataset.use, dataset.options, [entries[place] for place in places]]
    digest = hashlib.blake2b(json.dumps(question, sort_keys=True).encode(), digest_size=4).hexdigest()
    return Elsewhere(dataset, places, f"transfer-{slug(dataset.use)}-{digest}")


def check(planned: Elsewhere, composition: RecipePlan, splits: Splits, where: str) -> None:
    """Hold a data set against the images that the encoder is trained on, before it is.

    Raises:
        UsageError: other channels, too few classes, or a protocol that keeps a classifier of other ones.
    """
    dataset = make_dataset(planned.dataset, where)
    item, classes, known = open_source(dataset, "train").item, len(class_names(dataset)), len(splits.classes)
    name, mine = planned.dataset.use, splits.train.item
    if (len(item), item[0]) != (len(mine), mine[0]):
        raise UsageError(f"{where}: the images of {name} have the shape {tuple(item)}, and the encoder is trained on "
                         f"{tuple(mine)}; take a data set of the same channels")  # fmt: skip
    if classes < 2:
        raise UsageError(f"{where}: a classifier needs two classes or more, and {name} has {classes}; take another")
    for place in planned.places:
        plan = composition.evaluations[place]
        if Need.PREDICTIONS in plan.protocol.needs and classes != known:
            raise UsageError(
                f"{where}: evaluate.{plan.table.use} judges the run's own classifier of {known} classes, and {name} "
                f'has {classes}; take a protocol that trains a new one, such as slf, or give the row on = "other"'
            )


def execute(planned: Elsewhere, folder: Path, watcher: Watcher, say: Callable[[str], None]) -> None:
    """Judge a finished run there, as far as it is not done yet."""
    target = folder / planned.folder
    if (target / "results.json").is_file():
        return
    say(f"{folder.name}: its encoder on {planned.dataset.use}")
    if (target / "recipe.lock.toml").is_file():
        resume(target, watcher=watcher, say=say, report=False)
        return
    tables: dict[str, Any] = reading.read(folder / "recipe.lock.toml")
    tables["evaluate"] = [tables["evaluate"][place] for place in planned.places]
    judged_on(planned.dataset, tables, reopen(folder)[1], folder, target, watcher=watcher, say=say)
