"""What a task's process leaves behind for a launcher that is not its parent: where it runs, and how it has ended."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from robustcl.disk import Leases, Limits, read_json, write_atomically
from robustcl.errors import RobustclError, UsageError
from robustcl.tasks.attendance import GRACE, attend
from robustcl.tasks.task import Task

_LIMITS = Limits(file=65536)
_LOOK = 0.2


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of an attempt at a task.

    Attributes:
        attempt: no other attempt's of this task.
        place: where it runs or ran, in words.
        code: of its process, -N after signal N; ``None`` while it runs, and where it was cut off with whoever held it.
        why: of an end that the code alone does not explain.
    """

    attempt: str
    place: str
    code: int | None = None
    why: str = ""


def read_record(path: Path) -> Record | None:
    """Return what the last attempt has written, ``None`` where none has."""
    with contextlib.suppress(OSError):
        os.listdir(path.parent)  # a network disk then looks anew for what was not there
    try:
        return Record(**read_json(path, limits=_LIMITS))
    except (RobustclError, OSError, TypeError):
        return None


def attend_on_record(
    task: Task,
    path: Path,
    begun: Record,
    environment: Mapping[str, str] | None = None,
    wanted: Callable[[], bool] = lambda: True,
    hear: Callable[[int], None] = lambda number: None,
    patience: float = GRACE,
) -> int:
    """Attend a task as ``attend`` does, and keep a record of it; return its exit code.

    Two attempts never run at once, on whatever machines: each holds a lease beside the record, and waits for one that
    has it until that ends or has given no sign of life for ``patience`` seconds; one that has lost its lease, as on a
    machine that stood still, is asked to end, and writes nothing more. Nothing runs once the outcome is there.

    Raises:
        UsageError: this machine does not see the record's folder, which the launcher has made.
        DiskError: the record or the log cannot be written, or the program not be started.
    """
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is not seen by the machine {socket.gethostname()}: put the folder on a disk "
                         "that all machines share")  # fmt: skip
    with Leases(path.parent, patience, min(5.0, patience / 6)) as leases:
        while not leases.take(path.stem):
            if not wanted():
                return 143
            time.sleep(_LOOK)
        holds = _Holder(leases, path.stem)
        _write(path, begun)
        code, why = 0, ""
        if not task.is_done:
            try:
                code = attend(task, environment, lambda: wanted() and holds(), hear)
            except RobustclError as error:
                code, why = error.exit_code, str(error)
        lost = (code < 0 or code >= 128) and not wanted()  # it was asked to end, as nobody holds it any more
        if leases.holds(path.stem):
            _write(path, Record(begun.attempt, begun.place, None if lost else code, why))
    return code


class _Holder:
    """Says whether a lease is still ours, by a look at the disk every few seconds."""

    def __init__(self, leases: Leases, name: str) -> None:
        self.leases, self.name, self._next, self._held = leases, name, 0.0, True

    def __call__(self) -> bool:
        if self._held and time.monotonic() >= self._next:
            self._next = time.monotonic() + min(5.0, self.leases.beat)
            self._held = self.leases.holds(self.name)
        return self._held


def _write(path: Path, record: Record) -> None:
    write_atomically(path, json.dumps(asdict(record)))
