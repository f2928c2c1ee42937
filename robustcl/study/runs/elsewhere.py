"""The runs of a study judged on its other data set: held against it beforehand, and judged when they are finished."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from robustcl.analysis.other_data import judged_on
from robustcl.composition.plan import RecipePlan
from robustcl.data.held import open_source
from robustcl.data.promises import class_names
from robustcl.errors import UsageError
from robustcl.protocols import Need
from robustcl.recipe import reading
from robustcl.run.execution import resume
from robustcl.run.folder import reopen
from robustcl.run.splits import Splits
from robustcl.study.plan.elsewhere import Elsewhere, make_dataset
from robustcl.train.log import Watcher


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
        resume(target, devices=1, watcher=watcher, say=say, report=False)
        return
    tables: dict[str, Any] = reading.read(folder / "recipe.lock.toml")
    tables["evaluate"] = [tables["evaluate"][place] for place in planned.places]
    judged_on(planned.dataset, tables, reopen(folder)[1], folder, target, watcher=watcher, say=say)
