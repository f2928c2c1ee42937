"""``SHA256SUMS``: the digest of every file of a folder, and of the list itself, as ``sha256sum -c`` reads it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from robustcl.disk import open_file, read_bytes, write_atomically
from robustcl.errors import DataError, ProofFailed

SUMS = "SHA256SUMS"

_LINE = re.compile(rb"([0-9a-f]{64})  ([\w./+-]+)\n")
_LAST = b"# sha256 of the lines above: "


def seal(folder: Path) -> None:
    """Write the digests of all files that lie in a folder; nothing may be written there from then on."""
    lines = "".join(f"{_digest(folder / name)}  {name}\n" for name in _names(folder)).encode()
    write_atomically(folder / SUMS, lines + _LAST + hashlib.sha256(lines).hexdigest().encode() + b"\n")


def check_seal(folder: Path) -> str:
    """Return the digest of a whole folder, once each file in it is what it was when it was sealed.

    Raises:
        ProofFailed: a file was changed, left out, added, or is a link.
    """
    try:
        whole = read_bytes(folder / SUMS)
    except DataError as error:
        raise ProofFailed(f"{error}: the folder is not whole, copy it again") from None
    lines, _, last = whole.rpartition(_LAST)
    if last != hashlib.sha256(lines).hexdigest().encode() + b"\n":
        raise ProofFailed(f"{folder / SUMS} was changed: its last line is not the digest of those above it")
    found = [_LINE.fullmatch(line) for line in lines.splitlines(keepends=True)]
    listed = {each[2].decode(): each[1].decode() for each in found if each is not None}
    if len(listed) < len(found):
        raise ProofFailed(f"{folder / SUMS} was changed: a line of it is no digest of a file")
    there = _names(folder)
    if odd := sorted(listed.keys() ^ set(there)):
        what = "was taken out of" if odd[0] in listed else "was put into"
        raise ProofFailed(f"{odd[0]} {what} {folder}: it is not as it was published")
    for name, digest in listed.items():
        if _digest(folder / name) != digest:
            raise ProofFailed(f"{folder / name} was changed: its SHA-256 is not that of {SUMS}")
    return hashlib.sha256(whole).hexdigest()


def _names(folder: Path) -> list[str]:
    """Return all files below a folder; a link, a pipe or a device is a ``ProofFailed``."""
    names = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ProofFailed(f"{path} is a link or no regular file: a published folder holds files alone")
        if path.is_file() and path != folder / SUMS:
            names.append(path.relative_to(folder).as_posix())
    return names


def _digest(path: Path) -> str:
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
