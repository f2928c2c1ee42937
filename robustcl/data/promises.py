"""What a data set's plugin gives, held against what it promises; it is somebody else's code and may fail in any way."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from robustcl.data.moments import Statistics
from robustcl.errors import DataError, RobustclError, words
from robustcl.protocols import DatasetPlugin, Source

_MENDED = "mend the plugin"


def open_split(dataset: DatasetPlugin, split: str) -> Source:
    """Return a split of a data set: a source with images of a shape, and a label for each.

    Raises:
        DataError: the plugin fails, or what it returns is no such source.
        UsageError: whatever it says by itself.
    """
    who = f"the data set {type(dataset).__name__}"
    with blame(f"{who} fails to open the split {split!r}"):
        source = dataset.open(split)
    with blame(f"{who} fails to say what is in the split {split!r}"):
        lacking = [member for member in ("item", "labels", "fetch") if not hasattr(source, member)]
        if lacking:
            returned = "None" if source is None else f"a {type(source).__name__} without {', '.join(lacking)}"
            raise DataError(f"{who} returned {returned} for the split {split!r}, not a source of images: {_MENDED}")
        where = f"the split {split!r} of {who}"
        _check_item(source.item, where)
        _check_labels(source.labels, where)
        _check_words(source, where)
    return source


def class_names(dataset: DatasetPlugin) -> tuple[str, ...]:
    """Return the names of a data set's classes, by label.

    Raises:
        DataError: the plugin fails, or gives other than several different names.
        UsageError: whatever it says by itself.
    """
    who = f"the data set {type(dataset).__name__}"
    with blame(f"{who} fails to name its classes"):
        given: Any = dataset.classes()
        names = () if given is None or isinstance(given, str) else tuple(given)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise DataError(f"{who} must name its classes, and classes() returned {_brief(given)}: {_MENDED}")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{who} names the class {twice[0]!r} twice: {_MENDED}")
    return names


def statistics(dataset: DatasetPlugin, channels: int) -> Statistics:
    """Return mean and standard deviation of each of a number of channels, or one for all, as the data set has them.

    Raises:
        DataError: the plugin fails, or gives other than two rows of numbers, of which the deviations are positive.
        UsageError: whatever it says by itself.
    """
    who = f"the data set {type(dataset).__name__}"
    with blame(f"{who} fails to tell its mean and deviation"):
        given: Any = dataset.statistics()
        fits = isinstance(given, tuple | list) and len(given) == 2 and all(hasattr(part, "__len__") for part in given)
        mean, std = (tuple(part) for part in given) if fits else ((), ())
    numbers = all(isinstance(one, Real) and math.isfinite(one) for one in (*mean, *std))
    if not numbers or not len(mean) == len(std) in (1, channels) or min(std) <= 0:
        raise DataError(
            f"{who} must give a mean and a positive deviation for each channel, of which there are "
            f"{channels}, and statistics() returned {_brief(given)}: {_MENDED}"
        )
    return tuple(map(float, mean)), tuple(map(float, std))


@contextlib.contextmanager
def blame(fails: str) -> Iterator[None]:
    """Turn whatever somebody else's code raises in this block into a DataError that begins with ``fails``."""
    try:
        yield
    except (RobustclError, MemoryError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:
        raise DataError(f"{fails}, {words(error)}: mend the plugin, or put there what it reads") from error


def _check_item(item: Any, where: str) -> None:
    whole = isinstance(item, tuple | list) and len(item) > 0 and all(isinstance(one, Integral) for one in item)
    if not whole or min(item) < 1:
        raise DataError(f"{where} must say the shape of one image, (channels, height, width), not {_brief(item)}")


def _check_labels(labels: Any, where: str) -> None:
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.dim() != 1:
        given = f"{labels.dtype} {tuple(labels.shape)}" if isinstance(labels, Tensor) else f"a {type(labels).__name__}"
        raise DataError(f"{where} must give its labels as a tensor (n,) of int64, -1 for none, not {given}")
    if not len(labels):
        raise DataError(f"{where} holds no image: give it one at least, or say of what it lacks")


def _check_words(source: Any, where: str) -> None:
    """Hold what a source may say beside its images: remarks, and what was left out and why."""
    remarks, left_out = getattr(source, "remarks", ()), getattr(source, "left_out", {})
    if isinstance(remarks, str) or not all(isinstance(remark, str) for remark in remarks):
        raise DataError(f"{where}: its remarks must be several sentences, not {_brief(remarks)}: {_MENDED}")
    if not isinstance(left_out, Mapping) or not all(
        isinstance(entry, Mapping) and {"count", "names"} <= set(entry) for entry in left_out.values()
    ):
        raise DataError(f"{where}: left_out must hold a count and names for each reason, not {_brief(left_out)}")


def _brief(value: object) -> str:
    """Return a value in words that fit into a line."""
    said = " ".join(repr(value).split())
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}..."


_LONGEST = 80
