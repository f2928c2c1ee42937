"""Tasks carried out by a launcher, each event written on the board and shown."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import cast

from robustcl import hooks
from robustcl.errors import Interrupted
from robustcl.hooks import LauncherHooks
from robustcl.launch.board import FOLDER, Board, Card
from robustcl.launch.view import TaskView
from robustcl.protocols import Launcher
from robustcl.tasks import Event, Task

Told = Callable[[Event], None]


def carry_out(
    launcher: Launcher,
    tasks: Sequence[Task],
    cards: Sequence[Card],
    folder: Path,
    told: Told = lambda event: None,
) -> Mapping[str, Event]:
    """Have tasks done; return the last event of each.

    Args:
        launcher: brings them to machines.
        tasks: in their order.
        cards: what stands on the board: these tasks, and others that are done already.
        folder: of the board.
        told: hears every event, when it stands on the board.

    Raises:
        Interrupted: Ctrl-C or a signal: tasks of this machine have been ended, those in a queue go on.
    """
    board, last = Board(folder, cards), dict[str, Event]()
    titles = {card.name: card.title for card in cards}
    for name in titles.keys() - {task.name for task in tasks}:
        board.note(Event(name, "done", why="it was done before"))
    launching = cast("Generator[Event]", launcher.launch(tasks, folder / FOLDER))
    with TaskView(folder, titles) as view, contextlib.closing(launching):
        try:
            for event in launching:
                last[event.task] = event
                board.note(event)
                view.show(event)
                told(event)
        except KeyboardInterrupt:
            stays = not hooks.of(launcher, LauncherHooks).here
            raise Interrupted(
                "stopped; tasks in the queue go on there, and the same command watches them again" if stays
                else "stopped, and the tasks with it; the same command goes on"
            ) from None  # fmt: skip
    return last
