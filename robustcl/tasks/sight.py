"""Whether machines share the disks that tasks need, asked of each by a command before anything begins on it."""

from __future__ import annotations

import contextlib
import json
import shlex
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from robustcl.disk import make_folder, sees, write_atomically
from robustcl.errors import RobustclError, UsageError
from robustcl.tasks.task import SharedFolder, Task

LOOK = "look"
"""In place of a task, in the command of the process that looks."""
_TOKEN = ".seen-"
_LATE = 10.0
"""Seconds that a network disk may be late."""
_READ_ONLY, _FIRST = 63, 64
"""Exit codes of who looks: it cannot write; it does not see the first path, or a later one."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a machine is asked to see: a path, the folder that a person knows it by, and what to do where it is not."""

    path: Path
    shared: SharedFolder


def leave_sights(tasks: Sequence[Task], folder: Path, token: str) -> tuple[Sight, ...]:
    """Leave a file of chance in every folder that machines have to share for some tasks; return what they have to see.

    Args:
        tasks: they.
        folder: of the launcher, where the files of its tasks lie as well.
        token: in the name of those files, no other launch's: a copy of the folder does not pass for it.

    Raises:
        DiskError: the folder of the launcher cannot be written.
    """
    own = SharedFolder(folder, "put it on a disk that all machines share")
    make_folder(folder)
    write_atomically(folder / f"{_TOKEN}{token}", token)
    found = [Sight(folder / f"{_TOKEN}{token}", own)]
    for shared in dict.fromkeys(one for task in tasks for one in task.shared):
        path = shared.folder / f"{_TOKEN}{token}"
        try:
            make_folder(shared.folder)
            write_atomically(path, token)
        except RobustclError:  # read-only: who can read it is served
            path = shared.folder
        if path.exists():
            found.append(Sight(path, shared))
    remedy = "give the command in a folder that all machines see"
    return (
        *found,
        *(Sight(place, SharedFolder(place, remedy)) for place in dict.fromkeys(task.folder for task in tasks)),
    )


def take_away(sights: Sequence[Sight]) -> None:
    """Remove the files that ``leave_sights`` has left."""
    for sight in sights:
        if sight.path.name.startswith(_TOKEN):
            with contextlib.suppress(OSError):
                sight.path.unlink(missing_ok=True)


def probe_command(sights: Sequence[Sight], answer: Path) -> tuple[str, ...]:
    """Return the command that looks, on whatever machine it runs; where all is seen its code is 0.

    answer: the file that it then leaves, with the machine's name, for who asks to see that the disk works both ways.
    """
    paths = json.dumps([str(sight.path) for sight in sights])
    return (sys.executable, "-P", "-m", "robustcl.tasks", LOOK, paths, str(answer))


def explain_blind(machine: str, code: int, sights: Sequence[Sight]) -> UsageError:
    """Return the sentence for a machine on which the command that looks has ended with a code other than 0."""
    said = f"the machine {machine}"
    if 0 <= code - _FIRST < len(sights):
        shared = sights[code - _FIRST].shared
        return UsageError(f"{said} does not see the folder {shared.folder} of this one: {shared.remedy}; nothing began")
    if code == _READ_ONLY:
        return UsageError(f"{said} cannot write into {sights[0].shared.folder}: mount it there for writing; nothing "
                          "began")  # fmt: skip
    return UsageError(f"{said} cannot run {shlex.quote(sys.executable)} -m robustcl (exit code {code}): install it on "
                      "a disk that all machines share, or at the same place on each; nothing began")  # fmt: skip


def explain_unanswered(machine: str, folder: Path) -> UsageError:
    """Return the sentence for a machine that has looked and whose answer is not seen here."""
    return UsageError(f"the machine {machine} has left its answer in {folder}, and it is not seen here: put that "
                      "folder on a disk that all machines share; nothing began")  # fmt: skip


def look(paths: str, answer: Path) -> int:
    """Look for paths, a list as JSON, on this machine, and leave the answer; return the code for ``explain_blind``."""
    for number, path in enumerate(json.loads(paths)):
        if not sees(Path(path), _LATE):
            return _FIRST + number
    try:
        write_atomically(answer, socket.gethostname())
    except RobustclError:
        return _READ_ONLY
    return 0
