"""Pieces of work that several processes share out, on any disk that all of them see: a file each, created by one.

A lease says nothing of time. Who holds it counts up in its file; who wants it looks whether the count goes on, by a
clock of its own: machines whose clocks differ by hours agree, and no lock of the disk is needed, which NFS may lack.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from robustcl.disk.folders import make_folder
from robustcl.disk.reading import Limits, read_bytes
from robustcl.disk.trouble import say_why
from robustcl.disk.writing import NOFOLLOW
from robustcl.errors import RobustclError

_SUFFIX = ".lease"
_LIMITS = Limits(file=4096)


class Leases:
    """The leases of a folder, as one process takes them; a context, at whose end all of them are given back.

    Two processes may hold a lease at once for a moment, where one of them stood still for longer than the patience of
    the others: what is done under a lease has to bear being done twice. ``holds`` tells who has lost one.

    Args:
        folder: where they lie; it is made.
        patience: seconds without a sign of life after which a lease goes to another.
        beat: seconds between two signs of life.
    """

    def __init__(self, folder: Path, patience: float = 60.0, beat: float = 5.0) -> None:
        self.folder, self.patience, self.beat = folder, patience, beat
        self._held: dict[str, _Held] = {}
        self._seen: dict[str, tuple[bytes, float]] = {}
        self._first: dict[str, bytes] = {}
        self._guard, self._over = threading.Lock(), threading.Event()
        self._pulse: threading.Thread | None = None

    def __enter__(self) -> Leases:
        make_folder(self.folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._pulse is not None:
            self._pulse.join()
        for name in [*self._held]:
            self.release(name)

    def take(self, name: str) -> bool:
        """Take a lease that nobody holds, or whose holder has given no sign of life for long; say whether it is ours.

        To learn that, ask again: the holder's silence counts from the first time that this process has asked.

        Raises:
            DiskError: the disk refuses.
        """
        if name in self._held:
            return True
        path = self._path(name)
        free = self._create(name, path) or (
            self._is_silent(name, path) and self._remove(name, path) and self._create(name, path)
        )
        if not free:
            return False
        self._seen.pop(name, None)
        self._first.pop(name, None)
        if self._pulse is None:
            self._pulse = threading.Thread(target=self._beat, name="leases", daemon=True)
            self._pulse.start()
        return True

    def holds(self, name: str) -> bool:
        """Say whether a lease that was taken is still ours."""
        held = self._held.get(name)
        return held is not None and _read(self._path(name)).startswith(held.token)

    def release(self, name: str) -> None:
        """Give a lease back; one that another has taken over stays the other's."""
        mine = self.holds(name)
        with self._guard:
            held = self._held.pop(name, None)
        if held is None:
            return
        with contextlib.suppress(OSError):
            os.close(held.descriptor)
        if mine:
            self._path(name).unlink(missing_ok=True)

    def beats(self, name: str) -> bool:
        """Say whether the holder of a lease that we could not take has given a sign of life since we first asked."""
        return name in self._first and _read(self._path(name)) not in (self._first[name], b"")

    def holder(self, name: str) -> str:
        """Return who holds a lease, its machine and process, "" where nobody does."""
        return b" ".join(_read(self._path(name)).split()[1:3]).decode("ascii", "replace")

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{_SUFFIX}"

    def _create(self, name: str, path: Path) -> bool:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | NOFOLLOW, 0o666)
        except FileExistsError:
            return False
        except OSError as error:
            raise say_why(path, error) from None
        held = _Held(secrets.token_hex(8).encode(), descriptor)
        try:
            held.write(0)
        except OSError as error:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise say_why(path, error) from None
        with self._guard:
            self._held[name] = held
        return True

    def _is_silent(self, name: str, path: Path) -> bool:
        now, sign = time.monotonic(), _read(path)
        self._first.setdefault(name, sign)
        before, since = self._seen.get(name, (None, now))
        if sign != before:
            self._seen[name] = sign, now
            return False
        return now - since >= self.patience

    def _remove(self, name: str, path: Path) -> bool:
        """Take a silent lease out of the way; of two who try only one succeeds."""
        aside, (seen, _) = path.with_name(f".{path.name}.{secrets.token_hex(8)}"), self._seen.pop(name)
        try:
            path.rename(aside)
        except FileNotFoundError:
            return True  # given back by its holder, or taken out of the way by another
        except OSError as error:
            raise say_why(path, error) from None
        found = _read(aside)
        if found != seen:  # another was faster, and this is its fresh lease: put it back
            with contextlib.suppress(OSError):
                os.link(aside, path)
        aside.unlink(missing_ok=True)
        return found == seen

    def _beat(self) -> None:
        count = 0
        while not self._over.wait(self.beat):
            count += 1
            with self._guard:
                for held in self._held.values():
                    with contextlib.suppress(OSError):  # a full disk: the work goes on, and perhaps another does it too
                        held.write(count)


@dataclass(frozen=True, slots=True)
class _Held:
    """A lease of ours: written through its own descriptor, so that a file that took its place is never touched."""

    token: bytes
    descriptor: int

    def write(self, count: int) -> None:
        said = b"%s %s %d %012d\n" % (self.token, socket.gethostname().encode("ascii", "replace"), os.getpid(), count)
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        os.write(self.descriptor, said)
        with contextlib.suppress(OSError):
            os.fsync(self.descriptor)


def _read(path: Path) -> bytes:
    try:
        return read_bytes(path, limits=_LIMITS)
    except (RobustclError, OSError):
        return b""
