"""Corrupted images of a split: made when they are fetched, or read from stored copies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from robustcl import hooks, options, registry
from robustcl.corruption import PHOTOGRAPHED, check
from robustcl.data.streamed import as_pixels
from robustcl.data.subset import Images
from robustcl.errors import DataError, OptionError, UsageError
from robustcl.hooks import PluginHooks
from robustcl.protocols import View
from robustcl.rng import Rng


def generate(
    images: Tensor, corruption: str, severity: int, rng: Rng, *, use: str = "corruption", photographs: str | None = None
) -> Tensor:
    """Return images (n, C, H, W), uint8 or in [0, 1], corrupted: float32 in [0, 1].

    ``rng`` gives each row a stream by its place; ``use`` is the view plugin, with options ``name`` and ``severity``;
    ``photographs`` is the folder of those that frost is made with.

    Raises:
        UsageError: a corruption that the plugin does not make, or not of such images.
        DataError: photographs that are missing, damaged or too small.
    """
    rows = torch.arange(len(images), device=images.device)
    made = maker(corruption, severity, use=use, photographs=photographs)
    return _drawn(made, as_pixels(images), rng.for_rows(rows))


def maker(corruption: str, severity: int, *, use: str = "corruption", photographs: str | None = None) -> View:
    """Return the view plugin that makes a corruption. Raises UsageError where it does not."""
    check(corruption, severity)
    given: dict[str, Any] = {"name": corruption, "severity": severity}
    if photographs is not None and corruption in PHOTOGRAPHED:
        given["photographs"] = photographs
    try:
        made: View = options.build(registry.get("view", use), given, f"corruption {corruption}").instance
    except OptionError as error:
        raise UsageError(
            f"the view {use!r} does not make {corruption!r}: read stored copies of it, or leave it out"
        ) from error
    if reason := hooks.of(made, PluginHooks).available():
        raise UsageError(f"the view {use!r} does not make {corruption!r} so: {reason}")
    return made


class Generated:
    """The images of a split, corrupted whenever they are fetched; the same image always in the same way."""

    def __init__(self, images: Images, view: View, rng: Rng) -> None:
        self.images, self.view, self.rng = images, view, rng
        self.item = images.item
        self.labels = images.labels
        self.samples = images.samples
        self.device = images.device

    def fetch(self, index: Tensor) -> Tensor:
        """Return images (B, *item), float32 in [0, 1], for index (B,) int64."""
        return _drawn(self.view, self.images.fetch(index), self.rng.for_rows(index.to(self.device)))

    def batches(self, order: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through batches of indices: (index, images), both on the device."""
        for index, x in self.images.batches(order):
            yield index, _drawn(self.view, x, self.rng.for_rows(index))


class Stored:
    """Stored copies as a source, for ``robustcl.data.keep``; their labels must be those of the test set.

    Raises:
        DataError: other labels, another number of images, or images of another shape.
    """

    def __init__(self, images: Tensor, labels: Tensor, test: Images, where: str) -> None:
        self.images, self.labels = images, labels
        self.item = tuple(images.shape[1:])
        if self.item != test.item or len(labels) != test.samples:
            raise DataError(
                f"{where} holds {len(labels)} images {self.item} a severity, and the test set {test.samples} images "
                f"{test.item}: name the copies of this data set"
            )
        wrong = (labels != test.labels.cpu()).nonzero()[:, 0]
        if len(wrong):
            first = int(wrong[0])
            raise DataError(
                f"{where}: image {first} has the label {int(labels[first])}, and {int(test.labels[first])} in the test "
                "set: name the copies of this data set"
            )

    def fetch(self, index: Tensor) -> Tensor:
        """Return images (B, *item) uint8 for index (B,) int64."""
        return self.images[index]


def _drawn(view: View, x: Tensor, rng: Rng) -> Tensor:
    found = view.draw(x, rng)
    assert isinstance(found, Tensor), "a corruption makes no pretext target"
    return found.clamp(0, 1)
