"""One's own images in a NumPy archive."""

from __future__ import annotations

import math
import os
from typing import Any, ClassVar, Literal
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from robustcl.data.archive import Archive, Member, open_archive
from robustcl.data.arrays import ArraySource, DiskImages, DiskSource, arrange, blocks
from robustcl.data.moments import Statistics, statistics_of
from robustcl.errors import DataError
from robustcl.protocols import Need
from robustcl_plugins.datasets.arrays import by_path, check_split, expanded, unlabeled

Layout = Literal["auto", "channels-first", "channels-last"]
_CLASSES = 1_000_000
"""A label from here on is a mistake: each class below it would get a name, and an output of a classifier."""
_IN_MEMORY = 64 * 1024**2
"""Bytes of an array up to which it is read at once; the rows of a larger one stay in the file where they can."""

_open: WeakValueDictionary[tuple[object, ...], Any] = WeakValueDictionary()
"""Images that somebody holds at the moment: several splits, and the statistics, look at one array."""


class Npz:
    """The arrays ``x_train``, ``y_train``, ``x_test``, ``y_test`` of ``path``, and ``x_pretrain`` if there.

    Images are uint8, or floats in [0, 1]: (N, H, W), (N, C, H, W) or (N, H, W, C); clips have T frames before H. With
    ``layout = "auto"`` the channel axis is the second or the last, the one of the two with four entries or fewer; where
    both or neither have, ``layout`` must say it. Labels are integers (N,) from 0 to 999,999; -1 in ``y_train`` marks an
    image without one. ``x_pretrain`` has no labels; without it the train split pretrains. For an evaluation alone, the
    test arrays are enough. Archives are read without pickle; images of more than 64 MiB stay in the file, if they lie
    there uncompressed (``numpy.savez``) and in C order, and a batch is read when it is needed.
    Every fault of the file is a DataError that names the array and the remedy.

    path: the archive.
    layout: where the channels stand, ``"auto"`` or said.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    encoder: ClassVar[str] = "resnet-18"
    preset: ClassVar[str] = "path"
    citation: ClassVar[str] = "C. R. Harris et al., Array programming with NumPy, Nature 585, 2020 (the .npz format)"

    def __init__(self, *, path: str, layout: Layout = "auto") -> None:
        self.path = path
        self.layout = layout

    def open(self, split: str) -> ArraySource | DiskSource:
        """Return a split. Raises DataError."""
        check_split(split)
        with self._archive() as archive:
            if split == "pretrain" and "x_pretrain" in archive:
                images = self._images(archive, "x_pretrain")
                labels = unlabeled(len(images))
            else:
                name = "test" if split == "test" else "train"
                labels = self._labels(archive, name, self._checked(archive, f"x_{name}").shape[0])
                images = self._images(archive, f"x_{name}")
            source = DiskSource(images, labels) if isinstance(images, DiskImages) else ArraySource(images, labels)
            alone = split == "test" and "x_train" not in archive
            if split != "train" and not alone and source.item != (train := self._item(archive, "x_train")):
                raise DataError(
                    f"{self.path}: the images of {split} have the shape {source.item} but those of x_train "
                    f"{train}: all splits must agree"
                )
        return source

    def classes(self) -> tuple[str, ...]:
        """Return the numbers 0 .. the highest label, as names. Raises DataError."""
        with self._archive() as archive:
            splits = [split for split in ("train", "test") if split == "test" or "y_train" in archive]
            highest = max(int(self._labels(archive, split, None).max()) for split in splits)
        return tuple(str(label) for label in range(highest + 1))

    def statistics(self) -> Statistics:
        """Return mean and standard deviation per channel over the train split. Raises DataError."""
        with self._archive() as archive:
            return statistics_of(blocks(self._images(archive, "x_train")))

    def _archive(self) -> Any:
        remedy = f"name an .npz with x_train, y_train, x_test, y_test by the option path {by_path('FILE')}"
        return open_archive(expanded(self.path), remedy)

    def _images(self, archive: Archive, key: str) -> Tensor | DiskImages:
        """Return images (N, C, ...) of [0, 1], those that are held already where the file is the same."""
        state = os.stat(archive.path)
        name = (str(archive.path.resolve()), state.st_ino, state.st_size, state.st_mtime_ns, key, self.layout)
        found: Tensor | DiskImages | None = _open.get(name)
        if found is None:
            member = self._checked(archive, key)
            channels = self._channels(member.shape, f"{self.path}: {key}")
            rows = archive.rows(key) if member.size > _IN_MEMORY else None
            if rows is not None:
                found = DiskImages(rows, channels)
            else:
                found = arrange(torch.from_numpy(archive.read(key)), channels)
            if member.dtype.kind == "f":
                _require_pixels(found, f"{self.path}: {key}")
            _open[name] = found
        return found

    def _checked(self, archive: Archive, key: str) -> Member:
        member, where = archive.member(key), f"{self.path}: {key}"
        shape, dtype = member.shape, member.dtype
        if len(shape) not in (3, 4, 5) or 0 in shape[1:]:
            raise DataError(
                f"{where} has the shape {shape}: give (N, C, H, W), (N, H, W, C) or (N, H, W), or clips "
                "(N, C, T, H, W) or (N, T, H, W, C)"
            )
        if shape[0] == 0:
            raise DataError(f"{where} holds no images: give at least one")
        if dtype != np.uint8 and dtype.kind != "f":
            remedy = f"; of True and False, {key}.astype('uint8') * 255" if dtype.kind == "b" else ""
            if dtype.kind in "iu":
                remedy = f"; of values to 255, {key}.astype('uint8')"
            if dtype.kind in "iu" and dtype.itemsize == 2:
                remedy += f", of 16 bits, ({key} / 65535).astype('float32')"
            raise DataError(f"{where} is {dtype}: store the images as uint8, or as floats in [0, 1]{remedy}")
        return member

    def _item(self, archive: Archive, key: str) -> tuple[int, ...]:
        """Return the shape of one image of an array that is not read for it."""
        shape = self._checked(archive, key).shape
        empty = torch.empty((0, *shape[1:]), dtype=torch.uint8)
        return tuple(arrange(empty, self._channels(shape, f"{self.path}: {key}")).shape[1:])

    def _channels(self, shape: tuple[int, ...], where: str) -> int | None:
        if len(shape) == 3:
            return None
        first, last = shape[1] <= 4, shape[-1] <= 4
        if self.layout == "auto" and first == last:
            raise DataError(
                f"{where} has the shape {tuple(shape)}, in which the channel axis cannot be told: "
                'write layout = "channels-first" or "channels-last" under [data]'
            )
        is_last = last if self.layout == "auto" else self.layout == "channels-last"
        return len(shape) - 1 if is_last else 1

    def _labels(self, archive: Archive, split: str, images: int | None) -> Tensor:
        key = f"y_{split}"
        member, where = archive.member(key), f"{self.path}: {key}"
        if len(member.shape) != 1 or member.dtype.kind not in "iu":
            raise DataError(
                f"{where} is {member.dtype} of shape {member.shape}: give one integer per image, shape (N,)"
                + _remedy(member, key)
            )
        count = member.shape[0]
        if images is not None and count != images:
            raise DataError(f"{where} has {count} labels for the {images} images of x_{split}: give one each")
        if count == 0:
            raise DataError(f"{where} holds no labels: give one for each image")
        array = archive.read(key)
        lowest = -1 if split == "train" else 0
        if array.min() < lowest:
            row = int((array < lowest).argmax())
            raise DataError(
                f"{where} holds the label {array[row]} in row {row}: classes count from 0"
                + (", and -1 marks an image without a label" if split == "train" else "")
            )
        # Compared in the array's own type: as int64 the upper half of uint64 would be negative.
        if array.max() >= _CLASSES:
            row = int((array >= _CLASSES).argmax())
            raise DataError(
                f"{where} holds the label {array[row]} in row {row}: classes count from 0 to {_CLASSES - 1} at most; "
                "number them without gaps"
            )
        return torch.from_numpy(array.astype(np.int64))


def _require_pixels(images: Tensor | DiskImages, where: str) -> None:
    low, high, row = float("inf"), float("-inf"), 0
    for block in blocks(images):
        bad = (~block.isfinite()).flatten(1).any(1)
        if bool(bad.any()):
            first = int(bad.nonzero()[0])
            value = next(v for v in block[first].flatten().tolist() if not math.isfinite(v))
            raise DataError(
                f"{where} holds {value} in image {row + first}: floats must lie in [0, 1]; mend the image or leave it "
                "out"
            )
        low, high, row = min(low, float(block.min())), max(high, float(block.max())), row + len(block)
    if not (low >= 0.0 and high <= 1.0):
        raise DataError(
            f"{where} has values from {low:g} to {high:g}: floats must lie in [0, 1], or store the images as uint8"
        )


def _remedy(member: Member, key: str) -> str:
    """Return how to make labels of what stands there, for the shapes and types in which people have them."""
    if member.dtype.kind in "US":
        return f"; of names, numpy.unique({key}, return_inverse=True)[1]"
    if len(member.shape) == 2 and member.shape[1] == 1:
        return f"; {key}[:, 0]"
    if len(member.shape) == 2:
        return f"; of one column a class (one-hot), {key}.argmax(axis=1)"
    return f"; {key}.astype('int64')" if member.dtype.kind in "fb" and len(member.shape) == 1 else ""
