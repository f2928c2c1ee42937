"""Whether the splits of a run fit each other, before its first step; and whether they are still those of the start."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robustcl import corruption, disk, hooks, ranks
from robustcl.composition.plan import RecipePlan
from robustcl.data import agreement, digest
from robustcl.data.corrupted import generate
from robustcl.data.rows import Array
from robustcl.data.subset import Images
from robustcl.errors import DataError
from robustcl.evaluate.extras.corruptions import choose_corruptions, photographed
from robustcl.hooks import DatasetHooks
from robustcl.rng import Rng
from robustcl.run.splits import Splits, open_splits
from robustcl.run.stages import Say

FILE = "data.json"
"""The file of a run that keeps the digests of its splits."""


def check(composition: RecipePlan, splits: Splits) -> None:
    """Hold the splits against each other.

    Raises:
        DataError: other shapes, labels that name no class, a class of the test images that training lacks.
        UsageError: a validation part without an image.
    """
    for name, images in splits.whole.items():
        agreement.require_item(name, images.item, splits.train.item)
        agreement.require_named(images.labels, name, len(splits.classes))
    if not composition.evaluations:
        return
    held_out = 0 if splits.validation is None else splits.validation.samples
    agreement.require_validation(splits.whole["train"].labels, held_out, composition.recipe.data.validation)
    if splits.test is not None:
        agreement.require_learnable(splits.whole["train"].labels, splits.test.labels, splits.classes)
        for plan in composition.evaluations:
            table = plan.table.corruptions
            if table is not None and photographed(table):
                # Drawn once of one image, so that photographs that do not fit are told before anything is trained.
                blank = torch.zeros(1, *splits.test.item)
                for name in corruption.PHOTOGRAPHED:
                    generate(blank, name, 1, Rng(0, "corruption", name), photographs=table.photographs)
            if table is not None and table.path is not None:
                folder = hooks.of(composition.dataset.plugin, DatasetHooks).corrupted
                for name in choose_corruptions(table):
                    _check_copies(table.path, folder, name, splits.test)


def keep_or_compare(folder: Path, splits: Splits, say: Say) -> None:
    """Keep the digests of the splits with a run, or compare them with those that were kept when it began.

    Also says which images train and test have in common.

    Raises:
        DataError: the data are no longer those of the run.
    """
    ranks.by_first(lambda: _keep_or_compare(folder, splits, say))


def open_again(composition: RecipePlan, folder: Path, device: torch.device, *, test: bool = True) -> Splits:
    """Return the splits of a run that is to be judged further, its test images too: those with which it began.

    Raises:
        DataError: the data are no longer those of the run.
    """
    splits = open_splits(composition, device, test=test)
    before = digests_of(folder)
    if before:  # a run of an earlier version kept none
        digests = {name: digest.image_digests(images) for name, images in splits.whole.items()}
        _compare(folder, before, {name: digest.of_split(splits.whole[name], digests[name]) for name in digests})
    return splits


def _compare(folder: Path, before: Mapping[str, Any], now: Mapping[str, str]) -> None:
    for name in now.keys() & before.keys():
        if now[name] != before[name]:
            raise DataError(
                f"{folder}: the images or labels of the split {name} are not those with which the run began "
                f"({FILE}): put the old data back, or start a new run with another --out"
            )


def digests_of(folder: Path) -> dict[str, Any]:
    """Return the digests of the splits with which a run began, by name; none of one of an earlier version."""
    path = folder / FILE
    kept = disk.read_json(path, remedy="remove it to go on without") if path.is_file() else {}
    found = kept.get("splits") if isinstance(kept, dict) else None
    return found if isinstance(found, dict) else {}


def _keep_or_compare(folder: Path, splits: Splits, say: Say) -> None:
    digests = {name: digest.image_digests(images) for name, images in splits.whole.items()}
    now = {name: digest.of_split(images, digests[name]) for name, images in splits.whole.items()}
    before = digests_of(folder)
    _compare(folder, before, now)
    if now.keys() - before.keys():
        disk.write_atomically(folder / FILE, json.dumps({"schema": 1, "splits": {**before, **now}}))
        for sentence in (*splits.remarks, *_told(splits, digests.get("train"), digests.get("test"))):
            say(sentence)


def _told(splits: Splits, train: Array | None, test: Array | None) -> list[str]:
    said = []
    if missing := agreement.without_image(splits.whole["train"].labels, splits.classes):
        said.append(f"data: no training image has the class {agreement.brief(missing)}")
    if train is not None and test is not None:
        both = np.isin(test, train)
        if both.any():
            said.append(
                f"data: {int(both.sum())} of the {len(test)} test images stand among the training images too, the "
                f"first as image {int(both.argmax())}: accuracies on them say nothing"
            )
    return said


def _check_copies(root: str, folder: str, name: str, test: Images) -> None:
    """Hold the labels of stored corrupted copies against the test images, and their shape."""
    where = Path(root).expanduser() / folder / f"{name}.npy"
    shape, labels = corruption.look(root, folder, name)
    if shape[1:] != test.item or shape[0] != test.samples:
        raise DataError(
            f"{where} holds {shape[0]} images {shape[1:]} a severity, and the test set {test.samples} images "
            f"{test.item}: name the copies of this data set"
        )
    wanted = test.labels.cpu().repeat(len(corruption.SEVERITIES))
    if not torch.equal(labels, wanted):
        row = int((labels != wanted).nonzero()[0])
        raise DataError(
            f"{where}: image {row} has the label {int(labels[row])}, and {int(wanted[row])} in the test set: name the "
            "copies of this data set"
        )
