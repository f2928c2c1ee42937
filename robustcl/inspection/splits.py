"""One split gone through once, a few images at a time: what its pixels and its labels are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustcl.data import digest
from robustcl.data.moments import Moments
from robustcl.data.promises import blame
from robustcl.data.rows import BLOCK, Array
from robustcl.data.streamed import as_pixels, read_all
from robustcl.protocols import Source
from robustcl.types import UNLABELED

Told = Callable[[str, int, int], None]
"""Called with the name of a split, how many of its images were looked at, and how many there are."""


@dataclass(frozen=True, slots=True, eq=False)
class SplitFacts:
    """What was found in a split of n images.

    dtype: of its pixels as they are kept, "uint8" or "float32"; low, high: its least and largest value, ``None`` where
    no image could be read. mean, std: of each channel over all images, in [0, 1]. labels: (n,) int64, -1 for none.
    digests: (n,) of the pixels, meaningless in the rows of ``unreadable``, which holds the sentence of each image that
    could not be read. constant: the images of one value all over. left_out: why -> ``count`` and ``names``.
    """

    name: str
    source: Source = field(repr=False)
    dtype: str
    low: float | None
    high: float | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: Tensor = field(repr=False)
    digests: Array = field(repr=False)
    constant: tuple[int, ...]
    unreadable: Mapping[int, str]
    left_out: Mapping[str, Mapping[str, Any]]

    @property
    def images(self) -> int:
        """Return n."""
        return len(self.labels)

    @property
    def item(self) -> tuple[int, ...]:
        """Return the shape of one image."""
        return tuple(map(int, self.source.item))

    @property
    def unlabelled(self) -> int:
        """Return how many images have no label."""
        return int((self.labels == UNLABELED).sum())

    def counts(self, classes: int) -> list[int]:
        """Return how many images each class has; labels beyond them are not counted."""
        known = self.labels[(self.labels >= 0) & (self.labels < classes)]
        return torch.bincount(known, minlength=classes).tolist()

    def named(self, index: int) -> str:
        """Return an image as a person finds it: its file, or "train image 7"."""
        name = getattr(self.source, "name", None)
        with blame(f"the data source {type(self.source).__name__} fails to name image {index}"):
            return str(name(index)) if name is not None else f"{self.name} image {index}"

    def readable(self) -> Array:
        """Return which images could be read, (n,) bool."""
        kept = np.ones(self.images, dtype=bool)
        kept[list(self.unreadable)] = False
        return kept


def look(name: str, source: Source, told: Told, *, as_floats: bool = False) -> SplitFacts:
    """Go through a split; an image that cannot be read is noted, and the others are looked at all the same.

    ``as_floats``: digests are of the pixels in [0, 1], so that 8-bit images are found among floats.
    """
    labels = source.labels.cpu()
    n, moments = len(labels), Moments()
    digests = np.zeros((n, digest.WIDTH), dtype=np.uint8)
    unreadable: dict[int, str] = {}
    constant: list[int] = []
    low, high, dtype, done = math.inf, -math.inf, "", 0
    for index, images, lost in read_all(source, _blocks(n, source)):
        unreadable |= lost
        done += len(index) + len(lost)
        if len(index):
            flat = images.flatten(1)
            least, most = flat.amin(1), flat.amax(1)
            low, high = min(low, float(least.min())), max(high, float(most.max()))
            dtype = dtype or str(images.dtype).removeprefix("torch.")
            constant += index[least == most].tolist()
            moments.add(images)
            rows = digest.canonical(as_pixels(images) if as_floats else images)
            digests[index.numpy()] = np.stack([np.frombuffer(digest.of_row(row), np.uint8) for row in rows])
        told(name, done, n)
    mean, std = moments.statistics() if moments.count else ((), ())
    found = moments.count > 0
    return SplitFacts(
        name, source, dtype, low if found else None, high if found else None, mean, std, labels,
        digests.view(f"V{digest.WIDTH}")[:, 0], tuple(constant), unreadable, dict(getattr(source, "left_out", {})),
    )  # fmt: skip


def _blocks(n: int, source: Source) -> list[Tensor]:
    width = 4 * max(int(math.prod(source.item)), 1)
    return list(torch.split(torch.arange(n), max(BLOCK // width, 1)))
