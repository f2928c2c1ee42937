"""Folders of a run: made, and held against symbolic links that lead out of it."""

from __future__ import annotations

from pathlib import Path

from robustcl.disk.trouble import say_why
from robustcl.errors import UsageError

_LOCK = "recipe.lock.toml"
_MARKS = ("journal.jsonl", ".lock")
"""What a folder of ours holds that is no whole run: a judged model's, or one that was killed early."""


def root_of(path: Path) -> Path | None:
    """Return the run directory that a path lies in by its name, the outermost one; ``None`` where it is in none."""
    above = path.absolute().parents
    runs = [folder for folder in above if (folder / _LOCK).is_file()]
    if runs:
        return runs[-1]
    return next((folder for folder in above if any((folder / mark).is_file() for mark in _MARKS)), None)


def check_inside(path: Path, within: Path | None = None) -> None:
    """Refuse to write a path of a run (``within``, or the one it lies in) whose folder really is somewhere else.

    A run directory may come from anybody, and a link in it would let us write over the user's own files.

    Raises:
        UsageError: a folder between the run and the file is a link that leads out of the run.
    """
    root = within or root_of(path)
    if root is None:
        return
    there, home = path.absolute().parent.resolve(), root.absolute().resolve()
    if not there.is_relative_to(home):
        raise UsageError(
            f"{path.parent} is a symbolic link that leads out of {root}, to {there}: nothing is written there; remove "
            "the link"
        )


def make_folder(folder: Path, within: Path | None = None) -> Path:
    """Make a folder and those above it, unless they are there; returns it.

    Raises:
        UsageError: it would lie out of its run.
        DiskError: it cannot be made.
    """
    check_inside(folder / "x", within)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise say_why(folder, error, "made") from None
    return folder
