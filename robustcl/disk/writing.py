"""A file replaced as a whole: aside under a name of chance, flushed, renamed; a link is replaced, never followed."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from robustcl.disk.folders import check_inside
from robustcl.disk.trouble import say_why
from robustcl.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def write_atomically(path: Path, content: str | bytes, *, within: Path | None = None) -> None:
    """Replace a file so that a reader, or whoever comes after a kill, sees the old one or the new one, never a part.

    ``within`` is the run that the file must lie in, where its own marks do not say so yet.

    Raises:
        DiskError: the disk is full, read-only, forbidden or broken; the old file stays, and nothing lies beside it.
        UsageError: the file's folder is a link that leads out of its run, or the place is a device's or a pipe's.
    """
    with replacing(path, within=within) as file:
        file.write(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing(path: Path, *, within: Path | None = None) -> Iterator[IO[bytes]]:
    """Write a file of any length as ``write_atomically`` does; it takes its place when the context ends well."""
    check_inside(path, within)
    _refuse_special(path)
    aside = path.with_name(f".{path.name[:200]}.{secrets.token_hex(8)}")
    sink: _Sink | None = None
    try:
        sink = _Sink(os.open(aside, _CREATE, 0o666))
        with io.BufferedWriter(sink, 1 << 20) as file:
            yield file
            file.flush()
            os.fsync(sink.fileno())
        os.replace(aside, path)
        flush_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        # Whoever serialises into the file may wrap the disk's answer in an error of its own, or lose it.
        if (fault := error if isinstance(error, OSError) else sink and sink.fault) and isinstance(error, Exception):
            raise say_why(path, fault) from None
        raise


def _refuse_special(path: Path) -> None:
    """Refuse to put a file into the place of a device, a pipe or a socket, such as /dev/null or what /dev/stdout is."""
    for look in (path.lstat, path.stat):
        try:
            mode = look().st_mode
        except (OSError, ValueError):
            continue
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode) or stat.S_ISDIR(mode)):
            raise UsageError(f"{path} is a device or a pipe, and a file would take its place; name a file")


def flush_folder(folder: Path) -> None:
    """Bring a rename to the disk, where the system can: a power cut must not undo it after we have said it is done."""
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):  # some network disks refuse it
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class _Sink(io.FileIO):
    """A raw file that remembers what the disk answered."""

    fault: OSError | None = None

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w")

    def write(self, data: ReadableBuffer) -> int:
        """Write, and keep the error of a disk that refuses."""
        try:
            return super().write(data)
        except OSError as error:
            self.fault = error
            raise


NOFOLLOW: int = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NOFOLLOW
