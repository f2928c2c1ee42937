"""A task and what becomes of it: the values that travel between who has work and who brings it to a machine."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

State = Literal["waits", "started", "again", "done", "failed", "left out"]
"""It waits, for what ``why`` says; it began; it was cut off and begins once more; it is done; it cannot be done; what
it waits for cannot."""


@dataclass(frozen=True, slots=True)
class SharedFolder:
    """A folder that every machine has to see as this one does, and what to do where one does not, as a person reads."""

    folder: Path
    remedy: str


@dataclass(frozen=True, slots=True)
class Task:
    """A command that goes on where it was cut off when it is given again, and changes nothing when it is done.

    Attributes:
        name: no other task's, and good for the name of a file.
        command: the program and its arguments.
        outcome: a file that is there once the task is done; ``None``: an exit code of 0 says it.
        log: the file to which its output is added.
        folder: where it runs.
        after: names of the tasks that have to be done before it begins.
        devices: accelerators that it computes on, where there are any.
        shared: what its machine has to see beside the folder of its launcher, such as a store.
    """

    name: str
    command: tuple[str, ...]
    outcome: Path | None
    log: Path
    folder: Path
    after: tuple[str, ...] = ()
    devices: int = 1
    shared: tuple[SharedFolder, ...] = ()

    @property
    def key(self) -> str:
        """Its name and a digest of its command: a task of the same name that does something else is another."""
        return f"{self.name}-{hashlib.sha256(json.dumps(self.command).encode()).hexdigest()[:12]}"

    @property
    def is_done(self) -> bool:
        """Whether its outcome is there."""
        if self.outcome is None:
            return False
        with contextlib.suppress(OSError):
            os.listdir(self.outcome.parent)  # a network disk then looks anew for what was not there
        return self.outcome.exists()


def encode_task(task: Task) -> str:
    """Return a task as JSON, for another process."""
    return json.dumps(asdict(task), default=str)


def decode_task(text: str) -> Task:
    """Return the task that ``encode_task`` wrote."""
    given = json.loads(text)
    paths = {key: Path(given[key]) for key in ("outcome", "log", "folder") if given[key] is not None}
    shared = tuple(SharedFolder(Path(one["folder"]), one["remedy"]) for one in given["shared"])
    words = {key: tuple(given[key]) for key in ("command", "after")}
    return Task(**{**given, **paths, **words, "shared": shared})


@dataclass(frozen=True, slots=True)
class Event:
    """What has become of a task.

    Attributes:
        task: its name.
        state: what it has come to.
        place: where it runs or ran, in words: a device, a job, a machine; "" where it did not run.
        attempt: which one this was, counted from 1; 0 where there was none.
        why: of one that waits, was cut off, failed or was left out.
    """

    task: str
    state: State
    place: str = ""
    attempt: int = 0
    why: str = ""
