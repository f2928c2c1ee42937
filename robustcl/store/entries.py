"""The entries of a store: put there whole by one rename, and copied out with every byte held against the manifest."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustcl.disk import Limits, make_folder, open_file, read_text, replacing, say_why, write_atomically
from robustcl.errors import CheckpointError, DataError, DiskError
from robustcl.store import manifest as manifests
from robustcl.store.manifest import Manifest

_KEY = re.compile(r"[0-9a-f]{32}")
_BLOCK = 1 << 20
_FORGOTTEN, _NEVER_RESUMED = 86_400.0, 365 * 86_400.0
"""Seconds after which what was begun aside belongs to a process that has died, and a run is not gone on with."""


@dataclass(frozen=True, slots=True)
class Store:
    """A folder, which several machines may see: ``stages/KEY/`` an entry each, ``leases/``, ``begun/``, ``aside/``."""

    folder: Path

    @property
    def leases(self) -> Path:
        """Where processes say which stage they train."""
        return self.folder / "leases"

    def entry(self, key: str) -> Path:
        """Return the folder of an entry, which may not be there."""
        return self.folder / "stages" / key

    def list_keys(self) -> list[str]:
        """Return the keys of all entries.

        Raises:
            CheckpointError: the store cannot be read.
        """
        place = self.folder / "stages"
        try:
            return sorted(each.name for each in place.iterdir() if _KEY.fullmatch(each.name))
        except FileNotFoundError:
            return []
        except OSError as error:
            said = (error.strerror or str(error)).lower()
            raise CheckpointError(f"the store {self.folder} cannot be read: {said}; name another by --store") from None

    def copy_out(self, key: str, target: Path, within: Path) -> Manifest | None:
        """Copy an entry's files into a folder, which is made; ``None`` where there is no such entry.

        What is copied is what was checked: each byte is read once. The folder is gone again where one is wrong.

        Raises:
            CheckpointError: the entry is damaged, or no entry.
            DiskError: ``target``, which lies in the run ``within``, cannot be written.
        """
        entry = self.entry(key)
        if not os.path.lexists(entry):
            return None
        try:
            found = manifests.read(entry)
            for name, expected in found.files.items():
                make_folder((target / name).parent, within=within)
                _require(_copy(_regular(entry, name), target / name, expected[1], within), expected, entry / name)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
        with contextlib.suppress(OSError):  # when it was last taken; a store may be read-only
            os.utime(entry / manifests.FILE)
        return found

    def put(self, about: Mapping[str, Any], decides: Mapping[str, Any], files: Mapping[str, Path | bytes]) -> None:
        """Make an entry of some files; one that is there stays if it is sound, and is replaced if it is not.

        Raises:
            DiskError: the store cannot be written; nothing is left there.
        """
        key = manifests.key_of(decides)
        aside = self._aside(key)
        try:
            digests = {name: _write(source, aside / name) for name, source in files.items()}
            write_atomically(aside / manifests.FILE, manifests.render(Manifest(about, decides, digests)))
            make_folder(self.folder / "stages")
            self._place(aside, key)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def begin(self, key: str) -> str:
        """Note that a stage of a key begins; return a word of chance, which alone lets its outcome be kept.

        What a run says of its own beginning proves nothing, since a run may come from anybody.

        Raises:
            DiskError: the store cannot be written.
        """
        word = secrets.token_hex(16)
        write_atomically(make_folder(self.folder / "begun") / word, key)
        return word

    def has_begun(self, key: str, word: object) -> bool:
        """Say whether ``begin`` gave out a word for a key; it is good once."""
        if not isinstance(word, str) or not _KEY.fullmatch(word):
            return False
        path = self.folder / "begun" / word
        try:
            found = read_text(path, limits=Limits(file=64)) == key
            path.unlink()
        except (DataError, OSError):
            return False
        return found

    def fault(self, key: str) -> str | None:
        """Read an entry from end to end; return what is wrong with it, ``None`` where it is sound."""
        entry = self.entry(key)
        try:
            found = manifests.read(entry)
            for name, expected in found.files.items():
                _require(_digest(_regular(entry, name), expected[1]), expected, entry / name)
        except CheckpointError as error:
            return str(error)
        there = {path.relative_to(entry).as_posix() for path in entry.rglob("*") if not path.is_dir()}
        more = sorted(name for name in there - {*found.files, manifests.FILE} if "/.nfs" not in f"/{name}")
        return f"{entry} holds {more[0][:100]!r}, which its manifest does not name" if more else None

    def remove(self, key: str) -> None:
        """Take an entry away; a process that copies it at this moment finds it damaged, and trains the stage.

        Raises:
            DiskError: the store cannot be written.
        """
        entry, aside = self.entry(key), self._aside(key)
        try:
            entry.rename(aside)
            if aside.is_dir() and not aside.is_symlink():
                shutil.rmtree(aside)
            else:
                aside.unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            raise say_why(entry, error, "removed") from None

    def clear_aside(self) -> None:
        """Remove what processes that have died had begun to put there, and words that nobody comes back with."""
        for each in [*(self.folder / "aside").glob("*"), *(self.folder / "begun").glob("*")]:
            with contextlib.suppress(OSError):
                patience = _FORGOTTEN if each.parent.name == "aside" else _NEVER_RESUMED
                if time.time() - each.lstat().st_mtime > patience:
                    shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()

    def _aside(self, key: str) -> Path:
        return make_folder(self.folder / "aside") / f"{key}.{secrets.token_hex(8)}"

    def _place(self, aside: Path, key: str) -> None:
        for _ in range(3):
            try:
                aside.rename(self.entry(key))
                return
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise say_why(self.entry(key), error) from None
            if self.fault(key) is None:
                return  # another process was faster, and the two are the same
            self.remove(key)
        raise DiskError(f"{self.entry(key)} cannot be written: another process puts it back each time")


def _regular(entry: Path, name: str) -> Path:
    """Return a file of an entry that is reached through no link."""
    path = entry / name
    if any(each.is_symlink() for each in (path, path.parent)):
        raise CheckpointError(f"{path} is a symbolic link, or lies in one")
    return path


def _copy(source: Path, target: Path, most: int, within: Path | None = None) -> tuple[str, int]:
    """Copy a file of at most so many bytes; return its SHA-256 and size, one more where it is larger."""
    with replacing(target, within=within) as file:
        return _digest(source, most, file.write)


def _write(source: Path | bytes, target: Path) -> tuple[str, int]:
    make_folder(target.parent)
    if isinstance(source, Path):
        return _copy(source, target, manifests.LARGEST)
    write_atomically(target, source)
    return hashlib.sha256(source).hexdigest(), len(source)


def _digest(path: Path, most: int, pass_on: Any = None) -> tuple[str, int]:
    """Read a file up to a byte more than ``most``; return SHA-256 and size of what was read."""
    whole, size = hashlib.sha256(), 0
    with open_file(path, error=CheckpointError) as file:
        while size <= most:
            try:
                block = file.read(min(_BLOCK, most + 1 - size))
            except OSError as error:
                said = (error.strerror or str(error)).lower()
                raise CheckpointError(f"{path} cannot be read: {said}") from None
            if not block:
                break
            whole.update(block)
            size += len(block)
            if pass_on is not None:
                pass_on(block)
    return whole.hexdigest(), size


def _require(found: tuple[str, int], expected: tuple[str, int], path: Path) -> None:
    if found != expected:
        raise CheckpointError(f"{path} is damaged: its content is not the one that {manifests.FILE} describes")
