"""A file that grows line by line: journals and metrics."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from robustcl.disk.folders import check_inside
from robustcl.disk.trouble import say_why
from robustcl.disk.writing import NOFOLLOW
from robustcl.errors import UsageError


class Appender:
    """Appends to a regular file, which is made where it is missing; never through a link, a pipe or a device.

    Where the disk refuses in the middle of a line, the file is cut back to its last whole one.

    Raises:
        UsageError: the file is a link or no regular file, or its folder leads out of the run.
        DiskError: the disk refuses.
    """

    def __init__(self, path: Path, *, within: Path | None = None) -> None:
        self.path = path
        check_inside(path, within)
        if path.is_symlink():
            raise UsageError(f"{path} is a symbolic link: nothing is written through it; remove it")
        try:
            self._descriptor = os.open(path, _APPEND, 0o666)
        except OSError as error:
            raise say_why(path, error) from None
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            os.close(self._descriptor)
            raise UsageError(f"{path} is no regular file: nothing is written into it; move it away")

    def fileno(self) -> int:
        """Return the file's descriptor."""
        return self._descriptor

    def size(self) -> int:
        """Return how many bytes the file holds."""
        return os.fstat(self._descriptor).st_size

    def cut(self, size: int) -> None:
        """Drop everything beyond ``size`` bytes."""
        try:
            os.truncate(self._descriptor, size)
        except OSError as error:
            raise say_why(self.path, error) from None

    def write(self, lines: Iterable[str]) -> None:
        """Append lines, each of which gets its end."""
        data = "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
        whole = self.size()
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(self._descriptor, whole)
            raise say_why(self.path, error) from None

    def flush(self) -> int:
        """Bring what was written to the disk; returns the file's length in bytes."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise say_why(self.path, error) from None
        return self.size()

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_APPEND = os.O_RDWR | os.O_CREAT | os.O_APPEND | NOFOLLOW | getattr(os, "O_NONBLOCK", 0)
"""Without waiting: a pipe that nobody reads would hold us for ever."""
