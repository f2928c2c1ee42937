"""What a stage writes while it learns: ``metrics.jsonl``, TensorBoard events, and a line for who is watching."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from robustcl import ranks
from robustcl.disk import Appender, make_folder, parse_json, read_lines, say_why
from robustcl.errors import DataError

METRICS = "metrics.jsonl"
"""The file of a run that its stages write while they learn."""

Watcher = Callable[[str, int, int, Mapping[str, float]], None]
"""Called as watcher(stage, step, steps, numbers) after logged steps."""


def watch_nothing(stage: str, step: int, steps: int, numbers: Mapping[str, float]) -> None:
    """Watch in silence."""


class Log:
    """Appends metrics of one stage; cut back to a checkpoint's mark on resume, so that no step is told twice."""

    def __init__(self, run: Path, stage: str, watcher: Watcher = watch_nothing) -> None:
        self.run, self.path = run, run / METRICS
        self.stage = stage
        self.watcher = watcher
        self._events = run / "tensorboard" / stage
        self._writer: Any = None
        self._file: Appender | None = None

    def open(self, mark: int | None, step: int) -> None:
        """Start writing after ``mark`` bytes (``None``: the stage starts anew, and what it wrote before is dropped)."""
        if ranks.rank() != 0:
            return
        self._file = Appender(self.path, within=self.run)
        mark = self.other_stages() if mark is None else mark
        if mark < self._file.size():
            self._file.cut(mark)
        make_folder(self._events, within=self.run)
        from torch.utils.tensorboard.writer import SummaryWriter

        with self._told():
            self._writer = SummaryWriter(str(self._events), purge_step=step)

    def mark(self) -> int:
        """Return how many bytes are safely written."""
        if self._file is None:
            return 0
        return self._file.flush()

    def write(self, step: int, steps: int, numbers: Mapping[str, float]) -> None:
        """Append one step's numbers."""
        if self._file is None:
            return
        self._file.write([json.dumps({"stage": self.stage, "step": step, **numbers})])
        with self._told():
            for name, value in numbers.items():
                self._writer.add_scalar(f"train/{name}", value, step)
        self.watcher(self.stage, step, steps, numbers)

    def other_stages(self) -> int:
        """Return how many bytes precede the first line of this stage, or a last one that a kill has torn."""
        size = 0
        for line in read_lines(self.path):
            if not line.endswith(b"\n") or stage_of(line) == self.stage:
                break
            size += len(line)
        return size

    def close(self) -> None:
        """Flush and close."""
        if self._file is not None:
            self._file.close()
            self._file = None
            # What it still holds is for the eye alone, and another error may be on its way.
            with contextlib.suppress(OSError):
                if self._writer is not None:
                    self._writer.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Name the events where the disk refuses them; TensorBoard's own thread tells it to whoever calls next."""
        try:
            yield
        except OSError as error:
            raise say_why(self._events, error) from None


def lines_of(run: Path, stage: str) -> bytes:
    """Return the whole lines of metrics.jsonl that a stage has written."""
    if not (run / METRICS).is_file():
        return b""
    lines = (line for line in read_lines(run / METRICS) if line.endswith(b"\n"))
    return b"".join(line for line in lines if stage_of(line) == stage)


def put_lines(run: Path, stage: str, lines: bytes) -> None:
    """Write what a stage has logged elsewhere in the place of what it has logged here, if it had begun.

    Lines of other stages among them are left out.
    """
    log = Log(run, stage)
    kept = [line for line in lines.splitlines(keepends=True) if line.endswith(b"\n") and stage_of(line) == stage]
    with Appender(log.path, within=run) as file:
        if (begun := log.other_stages()) < file.size():
            file.cut(begun)
        file.write(line.decode("utf-8").rstrip("\n") for line in kept)


def stage_of(line: bytes) -> object:
    """Return the stage that a line of metrics.jsonl is of, ``None`` for a damaged one."""
    try:
        entry = parse_json(line, "a line", undefined=float)
    except DataError:
        return None
    return entry.get("stage") if isinstance(entry, dict) else None
