"""The table of tasks: what each is at, where, how long its stages still take, and what it waits for."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from robustcl.launch.board import FOLDER, TaskStanding, read_board
from robustcl.launch.progress import look
from robustcl.terminal import align, printable

HEAD = ("task", "state", "stage", "epoch", "left", "where", "waits for, or why")
_LINES = 5
"""Of a task's log, shown where it has failed."""


def tabulate(folder: Path) -> list[tuple[str, ...]]:
    """Return a row of ``HEAD`` for each task of a folder's board.

    Raises:
        UsageError: the folder has none.
    """
    standings = read_board(folder)
    state = {standing.card.name: standing.state for standing in standings}
    return [_row(folder, standing, state) for standing in standings]


def sum_up(folder: Path) -> str:
    """Return how many tasks there are of each state, in a sentence."""
    states = [_SAID.get(standing.state, standing.state) for standing in read_board(folder)]
    parts = [f"{states.count(state)} {state}" for state in dict.fromkeys([*_SAID.values(), *states]) if state in states]
    return f"{len(states)} tasks: {', '.join(parts)}"


def explain_failures(folder: Path) -> list[str]:
    """Return, of each task that has failed, why, the last lines of its log, and the command that does it alone."""
    said = []
    for standing in read_board(folder):
        event, card = standing.event, standing.card
        if event is not None and event.state == "failed":
            lines = last_lines(folder / FOLDER / f"{card.name}.log")
            said += [f"{card.title}: {event.why} ({event.place or 'it never ran'}, attempt {event.attempt})",
                     *(f"    {line}" for line in lines)]  # fmt: skip
            said += [f"  alone: {card.command}"] if card.command else []
    return said


def last_lines(log: Path, count: int = _LINES) -> list[str]:
    """Return the last lines of a log that say something, none where there is no log."""
    try:
        with open(log, "rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - (1 << 14), 0))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [printable(line) for line in text.replace("\r", "\n").splitlines() if line.strip()][-count:]


_SAID = {"done": "done", "started": "running", "again": "begins again", "waits": "waiting", "failed": "failed",
         "left out": "left out"}  # fmt: skip


def _row(folder: Path, standing: TaskStanding, state: dict[str, str]) -> tuple[str, ...]:
    card, event = standing.card, standing.event
    where, why = event.place if event is not None else "", ""
    if standing.state == "waits":
        why = ", ".join(name for name in card.after if state.get(name) != "done")
    why = why or (event.why if event is not None else "")
    if standing.state != "started":
        return (card.title, _SAID.get(standing.state, standing.state), "", "", "", where, why)
    progress = look(folder, standing)
    epoch = f"{progress.epoch:.1f}/{progress.epochs}" if progress.stage else ""
    left = say_seconds(progress.seconds) if progress.seconds is not None else ""
    # By the clock of who wrote it: of a launcher that has died nobody tells that its tasks have ended.
    said = [f"since {time.strftime('%m-%d %H:%M', time.localtime(standing.since))}"]
    said += [f"attempt {event.attempt}"] if event is not None and event.attempt > 1 else []
    return (card.title, "running", progress.stage, epoch, left, where, ", ".join(said))


def say_seconds(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def stamp() -> str:
    """Return the time of day, as lines of a log begin."""
    return time.strftime("%H:%M:%S")


def say_all(rows: Sequence[Sequence[str]]) -> str:
    """Return the table as text."""
    return align(HEAD, rows)
