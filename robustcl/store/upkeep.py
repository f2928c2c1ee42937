"""What people do with a store: look at what it holds, check all of it, and make room."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from robustcl.errors import CheckpointError, UsageError
from robustcl.store import manifest as manifests
from robustcl.store.entries import Store


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry as it is listed: ``taken`` is when it was last taken or kept, in seconds since 1970."""

    key: str
    about: dict[str, Any]
    bytes: int
    taken: float
    fault: str | None = None


def list_entries(store: Store, *, whole: bool = False) -> list[Listed]:
    """Return the entries, the one that was taken last first; ``whole``: every byte is read and checked.

    Raises:
        CheckpointError: the store cannot be read.
    """
    found = []
    for key in store.list_keys():
        taken = 0.0
        with contextlib.suppress(OSError):
            taken = (store.entry(key) / manifests.FILE).lstat().st_mtime
        try:
            manifest = manifests.read(store.entry(key))
        except CheckpointError as error:
            found.append(Listed(key, {}, _bytes(store, key), taken, str(error)))
            continue
        fault = store.fault(key) if whole else None
        found.append(Listed(key, dict(manifest.about), manifest.size, taken, fault))
    return sorted(found, key=lambda each: (-each.taken, each.key))


def choose_removed(
    entries: Sequence[Listed],
    now: float,
    older: float | None = None,
    most: int | None = None,
    damaged: bool = False,
) -> list[Listed]:
    """Return the entries that have to go: not taken for ``older`` seconds, and what is beyond ``most`` bytes in all.

    Those that were taken last stay. ``damaged``: those with a fault go too; without it, one that a later version has
    written, which this one cannot read, is as good as any.
    """
    gone = [each for each in entries if (damaged and each.fault) or (older is not None and now - each.taken > older)]
    total = 0
    for each in (each for each in entries if each not in gone):
        total += each.bytes
        if most is not None and total > most:
            gone.append(each)
    return gone


def parse_age(text: str, where: str) -> float:
    """Return the seconds of ``30d``, ``12h``, ``90m`` or ``4w``.

    Raises:
        UsageError: it is none of these.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([mhdw])", text.strip())
    if found is None:
        raise UsageError(f"{where} {text!r} is no length of time: write 30d, 12h, 90m or 4w")
    return float(found[1]) * {"m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}[found[2]]


def parse_size(text: str, where: str) -> int:
    """Return the bytes of ``20G``, ``500M``, ``1T``, ``64K`` or ``0``, in powers of 1024.

    Raises:
        UsageError: it is none of these.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if found is None:
        raise UsageError(f"{where} {text!r} is no size: write 20G, 500M or 64K")
    return int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " "))


def _bytes(store: Store, key: str) -> int:
    size = 0
    with contextlib.suppress(OSError):
        size = sum(each.lstat().st_size for each in store.entry(key).rglob("*") if not each.is_dir())
    return size
