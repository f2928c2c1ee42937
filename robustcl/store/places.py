"""Where the store is: as a flag says, else the environment, else nowhere, or, for studies, in the home folder."""

from __future__ import annotations

import os
from pathlib import Path

from robustcl.errors import UsageError

ENVIRONMENT = "ROBUSTCL_STORE"
HOME = "~/.cache/robustcl"
"""The store of a person, which studies use unless they are told otherwise."""

ROOMS = ("stages", "leases", "begun", "aside")
"""What a store holds, and nothing else."""

NONE = "none"
"""What is said in place of a folder where no store is to be used."""


def find_place(given: str | Path | None, default: str = NONE) -> Path | None:
    """Return the folder of the store, absolute, or ``None`` where none is to be used; it may not be there yet.

    given: what a flag says; left out, ROBUSTCL_STORE, and where that is not set, ``default``.

    Raises:
        UsageError: it is no folder, or one that holds other files.
    """
    said = str(given) if given is not None else os.environ.get(ENVIRONMENT) or default
    if said == NONE:
        return None
    if "\0" in said:
        raise UsageError(f"--store {said!r} is no name of a folder: it holds a character of value 0")
    try:
        place = Path(said).expanduser().absolute()
        nearest = next(each for each in (place, *place.parents) if each.exists())
        taken = not nearest.is_dir()
    except (OSError, RuntimeError) as error:
        raise UsageError(f"--store {said} cannot be used: {error}; name a folder, or none") from None
    if others := _list_others(place):
        raise UsageError(f"--store {said} holds other files ({others[0]}): name the folder of a store, or a new one")
    if taken:
        raise UsageError(f"--store {said} is a file, or lies below one: name the folder of a store, or none")
    return place


def find_remembered(said: str) -> Path | None:
    """Return the store with which a run began, ``None`` where none was used or it is no store any more.

    A run may come from anybody: what it says makes no folder, and writes into none but a store.
    """
    if said == NONE or "\0" in said:
        return None
    place = Path(said)
    try:
        is_store = any((place / room).is_dir() for room in ROOMS) and not _list_others(place)
    except OSError:
        return None
    return place if is_store else None


def _list_others(place: Path) -> list[str]:
    """Return what a folder holds that belongs to no store, the system's own files left out."""
    try:
        names = sorted(each.name for each in place.iterdir()) if place.is_dir() else []
    except OSError:
        return []  # whoever takes from it says why it cannot be read
    return [name for name in names if name not in (*ROOMS, "lost+found") and not name.startswith(".")]
