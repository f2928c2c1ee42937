"""Files of a data set are opened only where they are regular: a pipe would wait for ever, a device has no end."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from robustcl.errors import DataError

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: Path, remedy: str) -> BinaryIO:
    """Open a file for reading, without waiting for whoever might write into it.

    Raises:
        DataError: nothing is there, it is no regular file, or it may not be read; ``remedy`` ends the sentence.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        raise DataError(f"there is no file {path}: {remedy}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise DataError(f"{path} cannot be opened ({getattr(error, 'strerror', None) or error}): {remedy}") from None
    what = kind_of(os.fstat(descriptor).st_mode)
    if what is not None:
        os.close(descriptor)
        raise DataError(f"{path} is {what} and no file: {remedy}")
    return os.fdopen(descriptor, "rb")


def kind_of(mode: int) -> str | None:
    """Return what something is that is no regular file, "a pipe (FIFO)"; ``None`` for a file."""
    return None if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "something special")
