"""Small archives of arrays that a run keeps for its figures: from anybody, read whole and within a limit."""

from __future__ import annotations

from pathlib import Path

from robustcl.data import memory
from robustcl.data.archive import open_archive
from robustcl.data.rows import Array
from robustcl.errors import DataError

_MOST = 1 << 28
"""Bytes of all arrays together; what is kept for figures has a few million."""


def read_arrays(path: Path) -> dict[str, Array]:
    """Return name -> array of an archive, each as it is stored.

    Raises:
        DataError: no such file, no archive, Python objects, headers that lie, or more than figures need.
    """
    with open_archive(path, "make it anew") as archive:
        size = sum(archive.member(name).size for name in archive.names)
        if size > _MOST:
            raise DataError(
                f"{path} holds {memory.say_bytes(size)} of arrays, more than any that a run keeps: make it anew"
            )
        return {name: archive.exactly(name) for name in archive.names}
