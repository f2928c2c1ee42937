"""A folder per class: which of its files are images, and what was left out."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robustcl.data.files import kind_of
from robustcl.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""What torchvision's ImageFolder reads."""

_NO_CLASS = frozenset({"__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"})
"""Folders that programs and systems leave behind, beside those that begin with a dot."""


class LeftOut:
    """What is no image, by why: a suffix, "hidden files", "pipes"; how many, and the names of the first."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.names: dict[str, list[str]] = {}

    def __bool__(self) -> bool:
        return bool(self.counts)

    def add(self, why: str, name: str) -> None:
        """Count a file or folder."""
        self.counts[why] += 1
        names = self.names.setdefault(why, [])
        if len(names) < _NAMED:
            names.append(name)

    def update(self, other: LeftOut) -> None:
        """Add what another one counted."""
        for why, count in other.counts.items():
            self.counts[why] += count
            names = self.names.setdefault(why, [])
            names += other.names[why][: _NAMED - len(names)]

    def facts(self) -> dict[str, dict[str, Any]]:
        """Return it as a source tells it: why -> ``count``, and ``names`` of the first thousand."""
        return {why: {"count": count, "names": self.names[why]} for why, count in self.counts.items()}

    def __str__(self) -> str:
        """Return it in words, what is most often first: "12 .gif (cat/a.gif, cat/b.gif ...), 1 pipes (dog/p.png)"."""
        return ", ".join(
            f"{count} {why} ({', '.join(self.names[why][:_TOLD])}{' ...' if count > _TOLD else ''})"
            for why, count in sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        )


_NAMED = 1000
"""Names that are kept of what is left out, for each reason."""
_TOLD = 2
"""Those of them that a sentence says."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The images below a folder, in torchvision's order: by class, then by path; and what was left out."""

    folder: Path
    classes: tuple[str, ...]
    files: list[Path] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)

    def remarks(self) -> tuple[str, ...]:
        """Return one sentence about what was left out, if anything was."""
        if not self.left_out:
            return ()
        return (f"{self.folder}: left out {self.left_out}; images are {', '.join(SUFFIXES)}",)


def list_images(folder: Path) -> Listing:
    """Look through the folders of the classes.

    Raises:
        DataError: it cannot be read, there are no classes, or one of them has no image.
    """
    left_out = LeftOut()
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        names = []
        for entry in entries:
            if not entry.is_dir():
                left_out.add("files beside the folders of the classes", entry.name)
            elif _is_hidden(entry.name):
                left_out.add("hidden folders", entry.name)
            else:
                names.append(entry.name)
    except OSError as error:
        raise DataError(f"{folder} cannot be used ({error.strerror}): give a folder of images per class") from None
    if not names:
        what = f", only {left_out}" if left_out else ""
        raise DataError(
            f"{folder} cannot be used (it has no folder of a class{what}): give a folder of images per class"
        )
    listing = Listing(folder, tuple(names), left_out=left_out)
    for label, name in enumerate(names):
        here = LeftOut()
        found = list(_images(folder / name, here))
        left_out.update(here)
        if not found:
            what = f"; left out: {here}" if here else ""
            raise DataError(
                f"{folder} cannot be used (the folder {name} has no image{what}): images are {', '.join(SUFFIXES)}; "
                "put some there, or remove the folder"
            )
        listing.files.extend(found)
        listing.labels.extend([label] * len(found))
    return listing


def _images(folder: Path, left_out: LeftOut) -> Iterator[Path]:
    """Yield the images below a folder; links are followed, but never back to a folder above."""
    found: dict[str, list[str]] = {}
    waiting: list[tuple[str, tuple[tuple[int, int], ...]]] = [
        (str(folder), tuple(_identity(place) for place in (folder, *folder.absolute().parents)))
    ]
    while waiting:
        place, above = waiting.pop()
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"{place} cannot be read ({error.strerror}): give the rights to it, or remove it") from None
        for entry in entries:
            why = _refusal(entry)
            if why is not None:
                left_out.add(why, os.path.relpath(entry.path, folder.parent))
            elif entry.is_dir():
                here = _identity(Path(entry.path))
                if here in above:
                    left_out.add("links back to a folder above", os.path.relpath(entry.path, folder.parent))
                else:
                    waiting.append((entry.path, (*above, here)))
            else:
                found.setdefault(place, []).append(entry.name)
    for place in sorted(found):
        yield from (Path(place, name) for name in sorted(found[place]))


def _refusal(entry: os.DirEntry[str]) -> str | None:
    """Return why an entry is neither an image nor a folder to look into; ``None`` where it is one."""
    try:
        mode = entry.stat().st_mode
    except OSError:
        return "broken links"
    if stat.S_ISDIR(mode):
        return "hidden folders" if _is_hidden(entry.name) else None
    if entry.name.startswith("."):
        return "hidden files"
    if (what := kind_of(mode)) is not None:
        return what.removeprefix("a ").replace("pipe (FIFO)", "pipe") + "s"
    suffix = os.path.splitext(entry.name)[1].lower()
    return None if suffix in SUFFIXES else suffix or "files without a suffix"


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _NO_CLASS


def _identity(path: Path) -> tuple[int, int]:
    state = os.stat(path)
    return state.st_dev, state.st_ino
