"""Where the store is: as a flag says, else the environment, else nowhere, or, for studies, in the home folder."""

from __future__ import annotations

import os
from pathlib import Path

from robustcl.errors import UsageError

ENVIRONMENT = "ROBUSTCL_STORE"
HOME = "~/.cache/robustcl"
"""The store of a person, which studies use unless they are told otherwise."""

NONE = "none"
"""What is said in place of a folder where no store is to be used."""


def find_place(given: str | Path | None, default: str = NONE) -> Path | None:
    """Return the folder of the store, absolute, or ``None`` where none is to be used; it may not be there yet.

    given: what a flag says; left out, ROBUSTCL_STORE, and where that is not set, ``default``.

    Raises:
        UsageError: it is no folder.
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
    if taken:
        raise UsageError(f"--store {said} is a file, or lies below one: name the folder of a store, or none")
    return place
