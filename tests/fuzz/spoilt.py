"""Disks that fill up, in this process: a small one of its own where that can be mounted, else a limit on every file."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def limited(size: int) -> Iterator[None]:
    """Let no file grow beyond ``size`` bytes, as ``ulimit -f`` does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@contextlib.contextmanager
def small_disk(place: Path, size: str, options: str = "") -> Iterator[Path | None]:
    """Mount a file system in memory at ``place``, which is made; ``None`` where we may not."""
    place.mkdir()
    asked = ["mount", "-t", "tmpfs", "-o", f"size={size}{options}", "tmpfs", str(place)]
    may = shutil.which("mount") and subprocess.run(asked, capture_output=True, check=False).returncode == 0
    try:
        yield place if may else None
    finally:
        if may:
            subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Fill a disk with one file but for ``leave`` bytes; returns the file."""
    path = disk / "filler"
    with path.open("wb") as file:
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        file.write(b"x" * max(free - leave, 0))
    return path
