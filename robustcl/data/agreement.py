"""Whether splits fit each other: one shape, labels that name classes, test classes that training knows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robustcl.errors import DataError, UsageError
from robustcl.types import UNLABELED

_SHOWN = 5
"""Classes that a sentence names; the others it counts."""


def require_item(name: str, item: tuple[int, ...], train: tuple[int, ...]) -> None:
    """Raise DataError where the images of a split have another shape than those of train."""
    if tuple(item) != tuple(train):
        raise DataError(
            f"the images of {name} have the shape {tuple(item)} and those of train {tuple(train)}: all splits must "
            "agree"
        )


def require_named(labels: Tensor, name: str, classes: int) -> None:
    """Raise DataError for a label (n,) that is no class; -1, an image without a label, stands in training alone."""
    labels = labels.cpu()
    lowest = 0 if name == "test" else UNLABELED
    wrong = ((labels < lowest) | (labels >= classes)).nonzero()[:, 0]
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"image {row} of {name} has the label {int(labels[row])}, and the data set names {classes} classes, "
            "counted from 0: mend the label, or the names"
        )


def require_learnable(train: Tensor, test: Tensor, names: Sequence[str]) -> None:
    """Raise DataError for labels that do not begin at 0, and for a class of the test images that training lacks.

    Args:
        train: labels (n,) of the training images, -1 for none; where none has one, there is nothing to say.
        test: labels (m,) of the test images.
        names: of the classes, by label.
    """
    known = train.cpu()
    known = known[known != UNLABELED]
    if not len(known):
        return  # what needs labels says so itself
    seen, asked = torch.unique(known), torch.unique(test.cpu())
    first = int(torch.minimum(seen.min(), asked.min()))
    if first > 0:
        raise DataError(
            f"the labels begin at {first} and classes count from 0, so that {names[0]!r} would be a class without an "
            f"image: subtract {first} from all labels"
        )
    lacking = [names[label] for label in asked.tolist() if label not in set(seen.tolist())]
    if lacking:
        raise DataError(
            f"the test images have the class {brief(lacking)}, of which there is no training image, and it "
            "would always be judged wrong: add training images of it, or leave it out of the test images"
        )


def require_validation(train: Tensor, held_out: int, fraction: float) -> None:
    """Raise UsageError where labels (n,) lie there, and a validation part was asked for and holds no labelled image."""
    if fraction > 0 and held_out == 0 and bool((train != UNLABELED).any()):  # else what needs labels says so itself
        raise UsageError(
            f"data.validation = {fraction:g} leaves no labelled image to validate on: each class keeps one to train "
            "on; set data.validation = 0, or give more images of a class"
        )


def without_image(labels: Tensor, names: Sequence[str]) -> list[str]:
    """Return the classes of which no label (n,) is one; none where no image has a label at all."""
    present = set(labels[labels != UNLABELED].tolist())
    return [name for label, name in enumerate(names) if label not in present] if present else []


def brief(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
