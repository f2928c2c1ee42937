"""How many images a recipe's splits have and of which shape: as the data set publishes it, else as its files say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from robustcl import hooks
from robustcl.composition.plan import RecipePlan
from robustcl.data.held import open_source
from robustcl.data.promises import class_names
from robustcl.errors import DataError, UsageError
from robustcl.hooks import DatasetHooks

_ITEM = (3, 32, 32)
_CLASSES = 10


@dataclass(frozen=True, slots=True)
class Sizes:
    """Images of each split as a run has it, the validation part held out; ``None`` where nobody knows.

    item: the shape of one image; classes: how many. source: who says so, in words.
    """

    samples: Mapping[str, int | None]
    item: tuple[int, ...]
    classes: int
    source: str


def find_sizes(plan: RecipePlan) -> Sizes:
    """Return the sizes of a recipe's data; files are opened where the data set does not publish its shapes."""
    dataset, name = plan.dataset.plugin, plan.recipe.data.use
    shapes, source = dict(hooks.of(dataset, DatasetHooks).shapes()), f"{name} as published"
    if not shapes:
        shapes, source = _opened(plan)
    try:
        classes = len(class_names(dataset))
    except (DataError, UsageError):
        classes = _CLASSES
    if not shapes:
        return Sizes({"train": None, "pretrain": None}, _ITEM, classes, source)
    train = shapes["train"]
    kept = train[0] - math.ceil(plan.recipe.data.validation * train[0] - 1e-9)
    # Where a split of its own pretrains, no validation part is held out of it.
    pretrain = shapes["pretrain"][0] if "pretrain" in shapes else kept
    samples: dict[str, int | None] = {"train": kept, "pretrain": pretrain}
    judged = {"test": shapes["test"][0]} if "test" in shapes else {}
    judged |= {"validation": train[0] - kept} if train[0] > kept else {}
    return Sizes(samples | judged, tuple(train[1:]), classes, source)


def _opened(plan: RecipePlan) -> tuple[dict[str, tuple[int, ...]], str]:
    """Return the shapes that the files say, none where they cannot be opened, and in words who says so."""
    name = plan.recipe.data.use
    try:
        train, pretrain, test = (open_source(plan.dataset.plugin, split) for split in ("train", "pretrain", "test"))
    except (DataError, UsageError, OSError, ImportError):
        return {}, f"the number of images of {name} is unknown before its files are there"
    shapes = {name: (len(part.labels), *map(int, part.item)) for name, part in (("train", train), ("test", test))}
    if len(pretrain.labels) != len(train.labels):
        shapes["pretrain"] = (len(pretrain.labels), *map(int, pretrain.item))
    return shapes, f"{name} as its files say"
