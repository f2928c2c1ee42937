"""Whether two processes see one disk: one leaves a file under a name of chance there, the other looks for it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from robustcl.disk.folders import make_folder
from robustcl.disk.writing import write_atomically

_LOOK = 0.1


@contextlib.contextmanager
def leave_token(path: Path) -> Iterator[None]:
    """Leave a file for others to see, and take it away at the end.

    Raises:
        DiskError: it cannot be written.
    """
    make_folder(path.parent)
    write_atomically(path, path.name)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def sees(path: Path, patience: float = 10.0) -> bool:
    """Say whether this process comes to see a file or a folder within some seconds: a network disk may be late."""
    end = time.monotonic() + patience
    while not path.exists():
        if time.monotonic() >= end:
            return False
        time.sleep(_LOOK)
        with contextlib.suppress(OSError):
            os.listdir(path.parent)  # a network disk then looks anew for what was not there
    return True
