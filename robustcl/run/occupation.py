"""One process at a time in a folder: by a lock of the system, which dies with its process."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from robustcl import ranks
from robustcl.disk import Appender, read_text
from robustcl.errors import RobustclError, UsageError

_held: list[Path] = []
"""What this process holds already: an evaluation within a start takes the same lock once."""


@contextlib.contextmanager
def only_one(folder: Path, shard: tuple[int, int] | None = (0, 1)) -> Iterator[None]:
    """Refuse a second process on the same run directory, or on the same share of its evaluation.

    ``None`` is for those who share it out by leases: they refuse nobody, and nobody refuses them.

    Raises:
        UsageError: another process is at work there, or the lock file is a link or no regular file.
        DiskError: the folder cannot be written.
    """
    if shard is None:
        yield
        return
    share = "" if shard == (0, 1) else f".{shard[0] + 1}-of-{shard[1]}"
    path = folder.absolute() / f".lock{share}"
    if ranks.rank() != 0 or path in _held:
        yield
        return
    with Appender(path, within=folder) as file:
        if not _lock(file.fileno(), path):
            raise UsageError(f"another process is at work on {folder}; wait for it, or choose another --out")
        file.cut(0)
        file.write([f"{os.getpid()} {socket.gethostname()}"])
        _held.append(path)
        try:
            yield
        finally:
            _held.remove(path)
            with contextlib.suppress(RobustclError):
                file.cut(0)


def _lock(descriptor: int, path: Path) -> bool:
    """Lock an open file, as far as the system and the disk can; say whether nobody else holds it."""
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    try:
        import fcntl
    except ImportError:
        return not _lives(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        return not _lives(path)  # some network disks know no locks
    return True


def _lives(path: Path) -> bool:
    """Say whether the process that a lock file names is alive; one on another machine is taken for alive."""
    try:
        number, _, host = read_text(path).strip().partition(" ")
        if host != socket.gethostname():
            return bool(host)
        if int(number) == os.getpid():
            return False
        os.kill(int(number), 0)
    except (RobustclError, ValueError, ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
