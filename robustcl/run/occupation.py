"""One process at a time in a folder: by a lock of the system, which dies with its process."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from robustcl import ranks
from robustcl.disk import Appender, Leases
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
    with Appender(path, within=folder) as file, contextlib.ExitStack() as leased:
        if not _lock(file.fileno(), leased, path):
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


def _lock(descriptor: int, leased: contextlib.ExitStack, path: Path) -> bool:
    """Lock an open file as the system can, else by a lease; say whether nobody else holds it."""
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
        return _lease(leased, path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        return _lease(leased, path)  # some network disks know no locks
    return True


PATIENCE, BEAT, _LOOK = 60.0, 5.0, 0.2
"""Seconds: until a silent process is taken for dead, between its signs of life, and between two looks at it."""


def _lease(leased: contextlib.ExitStack, path: Path) -> bool:
    """Take a lease beside the lock file; say whether it is ours, once its holder has moved or has been silent for long.

    The number of a process says nothing where it may be another machine's.
    """
    leases = leased.enter_context(Leases(path.parent, PATIENCE, BEAT))
    while not leases.take(path.name):
        if leases.beats(path.name):
            return False
        time.sleep(_LOOK)
    return True
