"""A split of which only some images keep their labels, for semi-supervised stages."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from robustcl.data.subset import Images
from robustcl.errors import UsageError
from robustcl.rng import Rng
from robustcl.types import UNLABELED


def choose_labelled(labels: Tensor, amount: float, rng: Rng) -> Tensor:
    """Return which images keep their label, int64 and ascending: a number, or a share of the labelled ones.

    Classes come as equally as they can: a class that has fewer images than its part gives all, and the others
    give more. With the same ``rng`` a smaller amount keeps a part of what a larger one does.

    Args:
        labels: (n,) int64, -1 for none.
        amount: an int of at least 1, or a float in (0, 1], rounded to a whole number of images.
        rng: draws the order within each class and the order of the classes.

    Raises:
        UsageError: more labels are asked for than there are.
    """
    labels = labels.cpu()
    there = int((labels != UNLABELED).sum())
    count = amount if isinstance(amount, int) else max(math.floor(amount * there + 0.5), 1)
    if count > there:
        raise UsageError(f"{count} labels are asked for, and only {there} images have one: ask for {there} or less")
    classes = torch.unique(labels[labels != UNLABELED])
    order = rng.child("classes").permutation(len(classes))
    turns = []
    for place, label in zip(order.tolist(), classes.tolist(), strict=True):
        members = (labels == label).nonzero()[:, 0]
        shuffled = members[rng.child("class", label).permutation(len(members))]
        turns += [(turn, place, row) for turn, row in enumerate(shuffled.tolist())]
    return torch.tensor(sorted(row for _, _, row in sorted(turns)[:count]), dtype=torch.int64)


class Labelled:
    """The same images; those outside ``rows`` (m,) int64 have lost their labels."""

    def __init__(self, images: Images, rows: Tensor) -> None:
        self.images = images
        self.item = images.item
        self.device = images.device
        self.samples = images.samples
        rows = rows.to(images.labels.device)
        self.labels = torch.full_like(images.labels, UNLABELED)
        self.labels[rows] = images.labels[rows]

    def fetch(self, index: Tensor) -> Tensor:
        """Return images (B, *item) for index (B,) int64."""
        return self.images.fetch(index)

    def batches(self, order: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through batches of indices: (index, images), both on the device."""
        return self.images.batches(order)
