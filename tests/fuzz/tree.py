"""A folder as it was: to see what a command changed, and to put it back."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

Entry = tuple[str, int, bytes]
"""kind, permissions, content: the bytes of a file, the goal of a link."""


@dataclass(frozen=True, slots=True)
class _Mark:
    entry: Entry
    stamp: tuple[int, int, int, int]


class Tree:
    """What lies below a folder; reading a file again is spared where neither its time, size nor place has changed."""

    def __init__(self, root: Path, skip: tuple[str, ...] = ()) -> None:
        self.root, self.skip = root, skip
        self._marks: dict[str, _Mark] = {}
        self.look()

    def look(self) -> dict[str, Entry]:
        """Return path -> entry of everything there now."""
        marks: dict[str, _Mark] = {}
        below = len(os.path.join(self.root, ""))
        pending = [os.fspath(self.root)]
        while pending:
            with os.scandir(pending.pop()) as found:
                for each in found:
                    name = each.path[below:]
                    if name in self.skip:
                        continue
                    about = each.stat(follow_symlinks=False)
                    stamp = (about.st_mtime_ns, about.st_size, about.st_ino, about.st_mode)
                    known = self._marks.get(name)
                    same = known is not None and known.stamp == stamp
                    marks[name] = known if same and known is not None else _Mark(_entry(each.path, about), stamp)
                    if stat.S_ISDIR(about.st_mode):
                        pending.append(each.path)
        self._marks = marks
        return {name: mark.entry for name, mark in marks.items()}

    def restore(self, kept: dict[str, Entry]) -> None:
        """Make the folder what it was."""
        now = self.look()
        if now == kept:
            return
        for name in sorted(now, reverse=True):
            if name in kept and now[name] == kept[name]:
                continue
            path = self.root / name
            if now[name][0] == "folder":
                if name not in kept or kept[name][0] != "folder":
                    shutil.rmtree(path, ignore_errors=True)
            elif os.path.lexists(path):
                path.unlink()
        for name, (kind, mode, content) in sorted(kept.items()):
            if now.get(name) == kept[name]:
                continue
            path = self.root / name
            if kind == "folder":
                path.mkdir(exist_ok=True)
                path.chmod(mode)
            elif not os.path.lexists(path):
                if kind == "link":
                    path.symlink_to(os.fsdecode(content))
                else:
                    path.write_bytes(content)
                    path.chmod(mode)


def _entry(path: str, about: os.stat_result) -> Entry:
    mode = stat.S_IMODE(about.st_mode)
    if stat.S_ISLNK(about.st_mode):
        return ("link", 0, os.fsencode(os.readlink(path)))
    if stat.S_ISDIR(about.st_mode):
        return ("folder", mode, b"")
    if stat.S_ISREG(about.st_mode):
        return ("file", mode, Path(path).read_bytes())
    return ("other", mode, b"")
