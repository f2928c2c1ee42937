"""A row's run judged on the study's other data set: what its columns ask for there, and in which folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robustcl.analysis.other_data import slug
from robustcl.composition.lock import lock
from robustcl.composition.parts import Parts
from robustcl.composition.plan import RecipePlan
from robustcl.errors import NotMeasured, UsageError
from robustcl.protocols import DatasetPlugin
from robustcl.recipe import Use, override
from robustcl.study.grammar.columns import Accuracy, AnyColumn
from robustcl.study.plan.places import evaluation


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
