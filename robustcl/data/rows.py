"""An array that lies uncompressed in a file: its rows are read when they are asked for, and no others."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from robustcl.data.files import open_regular
from robustcl.errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]

BLOCK = 4 * 1024**2
"""Bytes that are looked at together where an array is gone through from its first row to its last."""


class FileRows:
    """Rows of an array (n, ...) in C order from ``offset`` of a file on; the file is not mapped.

    A mapped file that somebody cuts off kills the process, and its pages count as memory of the process. A file that
    changes while it is read is a DataError here.
    """

    def __init__(self, path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.path, self.offset, self.shape, self.dtype = path, offset, shape, dtype
        self.width = int(np.prod(shape[1:], dtype=object)) * dtype.itemsize
        self._open()

    def __len__(self) -> int:
        return self.shape[0]

    def __getstate__(self) -> tuple[Path, int, tuple[int, ...], np.dtype[Any], tuple[int, int]]:
        return self.path, self.offset, self.shape, self.dtype, self._seen

    def __setstate__(self, state: tuple[Path, int, tuple[int, ...], np.dtype[Any], tuple[int, int]]) -> None:
        path, offset, shape, dtype, seen = state
        self.__init__(path, offset, shape, dtype)  # type: ignore[misc]
        self._seen = seen

    def take(self, index: Array) -> Array:
        """Return the rows (B, ...) of index (B,) as an array of their own. Raises DataError."""
        self._require_unchanged()
        found = np.empty((len(index), *self.shape[1:]), self.dtype)
        if not found.size:
            return found
        target = found.reshape(-1).view(np.uint8).data
        # Neighbours are read together: a pass over the whole file takes few calls.
        starts = np.flatnonzero(np.diff(index, prepend=index[0] - 2) != 1)
        for start, end in zip(starts, [*starts[1:], len(index)], strict=True):
            self._read(int(index[start]), target[int(start) * self.width : int(end) * self.width])
        return found

    def blocks(self) -> Iterator[Array]:
        """Go through all rows, a few at a time."""
        step = max(BLOCK // max(self.width, 1), 1)
        for start in range(0, len(self), step):
            yield self.take(np.arange(start, min(start + step, len(self))))

    def _open(self) -> None:
        with open_regular(self.path, "it was there a moment ago; put it back") as file:
            self._file = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._file)
        state = os.fstat(self._file)
        self._seen = state.st_size, state.st_mtime_ns

    def _require_unchanged(self) -> None:
        state = os.fstat(self._file)
        if (state.st_size, state.st_mtime_ns) != self._seen:
            raise DataError(
                f"{self.path} was changed while it was in use: leave a data set alone until the run is done"
            )

    def _read(self, row: int, target: memoryview) -> None:
        position = self.offset + row * self.width
        while target:
            got = os.preadv(self._file, [target], position)
            if got == 0:
                raise DataError(f"{self.path} ends within row {row}: it was cut off; copy it again")
            target, position = target[got:], position + got
