"""One's own images in a NumPy archive."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from robustcl.errors import DataError
from robustcl.protocols import Need
from robustcl_plugins.datasets.arrays import (
    ArraySource,
    Statistics,
    by_path,
    channel_statistics,
    check_split,
    expanded,
    unlabeled,
)

Layout = Literal["auto", "channels-first", "channels-last"]
_CLASSES = 1_000_000
"""A label from here on is a mistake: each class below it would get a name, and an output of a classifier."""


class Npz:
    """The arrays ``x_train``, ``y_train``, ``x_test``, ``y_test`` of ``path``, and ``x_pretrain`` if there.

    Images are uint8, or floats in [0, 1]: (N, H, W), (N, C, H, W) or (N, H, W, C); clips have T frames before H. With
    ``layout = "auto"`` the channel axis is the second or the last, the one of the two with four entries or fewer; where
    both or neither have, ``layout`` must say it. Labels are integers (N,) from 0 to 999,999; -1 in ``y_train`` marks an
    image without one. ``x_pretrain`` has no labels; without it the train split pretrains. For an evaluation alone, the
    test arrays are enough. Archives are read without pickle.
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

    def open(self, split: str) -> ArraySource:
        """Return a split. Raises DataError."""
        check_split(split)
        with _archive(expanded(self.path)) as arrays:
            if split == "pretrain" and "x_pretrain" in arrays:
                images = self._images(arrays, "x_pretrain")
                source = ArraySource(images, unlabeled(len(images)))
            else:
                name = "test" if split == "test" else "train"
                images = self._images(arrays, f"x_{name}")
                source = ArraySource(images, self._labels(arrays, name, len(images)))
            alone = split == "test" and "x_train" not in arrays
            if split != "train" and not alone and source.item != (train := self._images(arrays, "x_train").shape[1:]):
                raise DataError(
                    f"{self.path}: the images of {split} have the shape {source.item} but those of x_train "
                    f"{tuple(train)}: all splits must agree"
                )
        return source

    def classes(self) -> tuple[str, ...]:
        """Return the numbers 0 .. the highest label, as names. Raises DataError."""
        with _archive(expanded(self.path)) as arrays:
            splits = [split for split in ("train", "test") if split == "test" or "y_train" in arrays]
            highest = max(int(self._labels(arrays, split, None).max()) for split in splits)
        return tuple(str(label) for label in range(highest + 1))

    def statistics(self) -> Statistics:
        """Return mean and standard deviation per channel over the train split. Raises DataError."""
        with _archive(expanded(self.path)) as arrays:
            return channel_statistics(self._images(arrays, "x_train"))

    def _images(self, arrays: Mapping[str, Any], key: str) -> Tensor:
        array, where = _array(arrays, key, self.path), f"{self.path}: {key}"
        if array.ndim not in (3, 4, 5) or 0 in array.shape[1:]:
            raise DataError(
                f"{where} has the shape {array.shape}: give (N, C, H, W), (N, H, W, C) or (N, H, W), or clips "
                "(N, C, T, H, W) or (N, T, H, W, C)"
            )
        if len(array) == 0:
            raise DataError(f"{where} holds no images: give at least one")
        if array.dtype != np.uint8:
            if array.dtype.kind != "f":
                raise DataError(f"{where} is {array.dtype}: store the images as uint8, or as floats in [0, 1]")
            low, high = float(array.min()), float(array.max())
            if not (low >= 0.0 and high <= 1.0):
                raise DataError(
                    f"{where} has values from {low:g} to {high:g}: "
                    "floats must lie in [0, 1], or store the images as uint8"
                )
            array = array.astype(np.float32)
        images = torch.from_numpy(np.ascontiguousarray(array))
        if images.dim() == 3:
            return images.unsqueeze(1)
        return images.movedim(-1, 1).contiguous() if self._channels_last(images.shape, where) else images

    def _channels_last(self, shape: tuple[int, ...], where: str) -> bool:
        first, last = shape[1] <= 4, shape[-1] <= 4
        if self.layout == "auto" and first == last:
            raise DataError(
                f"{where} has the shape {tuple(shape)}, in which the channel axis cannot be told: "
                'write layout = "channels-first" or "channels-last" under [data]'
            )
        return last if self.layout == "auto" else self.layout == "channels-last"

    def _labels(self, arrays: Mapping[str, Any], split: str, images: int | None) -> Tensor:
        key = f"y_{split}"
        array, where = _array(arrays, key, self.path), f"{self.path}: {key}"
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise DataError(f"{where} is {array.dtype} of shape {array.shape}: give one integer per image, shape (N,)")
        if images is not None and len(array) != images:
            raise DataError(f"{where} has {len(array)} labels for the {images} images of x_{split}: give one each")
        if len(array) == 0:
            raise DataError(f"{where} holds no labels: give one for each image")
        lowest = -1 if split == "train" else 0
        if array.min() < lowest:
            raise DataError(
                f"{where} holds the label {array.min()}: classes count from 0"
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


@contextmanager
def _archive(path: Path) -> Iterator[Mapping[str, Any]]:
    """Open an archive; whatever goes wrong while it is read becomes a sentence."""
    if not path.is_file():
        raise DataError(
            f"there is no file {path}: name an .npz with x_train, y_train, x_test, y_test by the option path "
            f"{by_path('FILE')}"
        )
    try:
        if not zipfile.is_zipfile(path):
            raise DataError(f"{path} is not a complete .npz archive: it is truncated or of another kind; copy it again")
        with np.load(path, allow_pickle=False) as arrays:
            yield arrays
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read ({error}): it is damaged or holds Python objects; save it again"
        ) from error


def _array(arrays: Mapping[str, Any], key: str, path: str) -> np.ndarray[Any, np.dtype[Any]]:
    if key not in arrays:
        there = ", ".join(arrays) or "nothing"
        raise DataError(f"{path} has no array {key!r}, only {there}: save it under that name")
    array: np.ndarray[Any, np.dtype[Any]] = arrays[key]
    return array
