"""What is known of tasks, on disk: which there are, and every event; any machine that sees the folder can read it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robustcl.disk import Appender, Limits, make_folder, parse_json, read_json, read_lines, write_atomically
from robustcl.errors import DataError, UsageError
from robustcl.tasks import Event, State

FOLDER = "tasks"
"""Below a study, a run or several runs: the board, the logs of tasks, and what a launcher remembers."""
_PLAN, _EVENTS = "plan.json", "events.jsonl"
_LIMITS = Limits(file=1 << 30, line=1 << 16)


@dataclass(frozen=True, slots=True)
class Card:
    """A task as it stands on the board.

    Attributes:
        name: the task's.
        title: what it is, for a person.
        run: the directory of the run that it works on, relative to the board's.
        stages: name -> epochs, of what it trains.
        after: names of the tasks that it waits for.
        command: what does it alone, as one would type it.
    """

    name: str
    title: str
    run: str = ""
    stages: Mapping[str, int] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    command: str = ""


class Board:
    """Writes the board of a folder; events of an earlier call stay in the file, and are not of this one."""

    def __init__(self, folder: Path, cards: Sequence[Card]) -> None:
        self.folder = make_folder(folder / FOLDER)
        plain = [{**{key: getattr(card, key) for key in _KEYS}, "stages": dict(card.stages)} for card in cards]
        write_atomically(self.folder / _PLAN, json.dumps({"schema": 1, "tasks": plain}, indent=1))
        with Appender(self.folder / _EVENTS) as file:
            file.write([json.dumps({"time": round(time.time(), 3), "begins": True})])

    def note(self, event: Event) -> None:
        """Add an event."""
        told = {key: getattr(event, key) for key in ("task", "state", "place", "attempt", "why")}
        with Appender(self.folder / _EVENTS) as file:
            file.write([json.dumps({"time": round(time.time(), 3), **told})])


_KEYS = ("name", "title", "run", "after", "command")


@dataclass(frozen=True, slots=True)
class TaskStanding:
    """An card and the last that is known of it; ``since``: the clock of who wrote it, in seconds; ``None`` before."""

    card: Card
    event: Event | None = None
    since: float = 0.0

    @property
    def state(self) -> State | str:
        """What has become of it; "waits" before it has begun."""
        return self.event.state if self.event is not None else "waits"


def read_board(folder: Path) -> list[TaskStanding]:
    """Return what stands on the board of a folder.

    Raises:
        UsageError: there is none.
        DataError: it is damaged.
    """
    place = folder / FOLDER
    if not (place / _PLAN).is_file():
        raise UsageError(f"{folder} holds no board of tasks: name the folder of a study that has begun")
    remedy = "remove it, and give the study's command again"
    whole = read_json(place / _PLAN, remedy=remedy)
    try:
        cards = [Card(**{**{key: one[key] for key in _KEYS}, "after": tuple(one["after"]), "stages": one["stages"]})
                   for one in whole["tasks"]]  # fmt: skip
    except (KeyError, TypeError) as error:
        raise DataError(f"{place / _PLAN} is damaged: it lacks {error}; {remedy}") from None
    if bad := [card.name for card in cards if Path(card.name).name != card.name]:
        raise DataError(f"{place / _PLAN} is damaged: {bad[0]!r} is no name of a task; {remedy}")
    last = _last_events(read_lines(place / _EVENTS, limits=_LIMITS) if (place / _EVENTS).is_file() else ())
    return [TaskStanding(card, *last.get(card.name, (None, 0.0))) for card in cards]


def _last_events(lines: Iterable[bytes]) -> dict[str, tuple[Event, float]]:
    """Return the last event of each task since the board was written last, and when it was."""
    found: dict[str, tuple[Event, float]] = {}
    for line in lines:
        if not line.endswith(b"\n"):
            break  # being written at this moment
        try:
            told: Any = parse_json(line, "a line")
            when = float(told.pop("time"))
            if told.get("begins"):
                found.clear()
            else:
                found[told["task"]] = Event(**told), when
        except (DataError, KeyError, TypeError, ValueError, AttributeError):
            continue
    return found
