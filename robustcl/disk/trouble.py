"""What a disk answers, as sentences."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator, Mapping
from pathlib import Path

from robustcl.errors import DiskError, UsageError


def say_why(path: Path | str, error: OSError, verb: str = "written") -> DiskError:
    """Return the sentence of why a file cannot be ``verb``: which file, why, and what to do."""
    reason, remedy = _SAID.get(error.errno or 0, ((error.strerror or str(error)).lower(), "look at that disk"))
    return DiskError(f"{path} cannot be {verb}: {reason}; {remedy}, then give the same command again", error.errno)


@contextlib.contextmanager
def as_usage(what: str, remedy: str) -> Iterator[None]:
    """Turn the trouble of a place that the user has named into a ``UsageError``; a full disk stays a ``DiskError``.

    Raises:
        UsageError: ``what`` cannot be written: why; ``remedy``.
    """
    try:
        yield
    except DiskError as error:
        if error.number in _FULL:
            raise
        reason = _SAID.get(error.number or 0, ("",))[0] or str(error).partition(": ")[2].partition(";")[0]
        raise UsageError(f"{what} cannot be written: {reason}; {remedy}") from None


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
"""What another name would not mend."""

_SAID: Mapping[int, tuple[str, str]] = {
    errno.ENOSPC: ("the disk is full", "make room"),
    errno.EDQUOT: ("your quota on that disk is used up", "make room"),
    errno.EFBIG: ("it grows beyond the largest file that is allowed here", "raise the limit (ulimit -f)"),
    errno.EROFS: ("the disk is read-only", "mount it for writing or choose another place"),
    errno.EACCES: ("permission denied", "allow it or choose another place"),
    errno.EPERM: ("permission denied", "allow it or choose another place"),
    errno.EIO: ("the disk reports an error of its own", "look at that disk"),
    errno.ENOENT: ("there is no such folder", "make it or choose another place"),
    errno.ENOTDIR: ("a part of its path is a file", "choose another place"),
    errno.EISDIR: ("it is a folder", "remove it or choose another place"),
    errno.ENOTEMPTY: ("it is a folder", "remove it or choose another place"),
    errno.ENAMETOOLONG: ("its name is too long", "choose a shorter one"),
    errno.ELOOP: ("it is a symbolic link", "remove the link"),
    errno.EMFILE: ("too many files are open", "raise the limit (ulimit -n)"),
    errno.ENFILE: ("too many files are open on this machine", "close some"),
    errno.ESTALE: ("the network disk has lost it", "look at that disk"),
}
"""errno -> why, and what to do."""
