"""What a person sees while tasks go: one table that lives on a terminal, a line for each event elsewhere."""

from __future__ import annotations

import os
import pty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from robustcl.errors import Interrupted
from robustcl.launch import view
from robustcl.launch.board import Card, read_board
from robustcl.launch.carrying import carry_out
from robustcl.tasks import Event, Task

CARDS = [Card("done", "SimCLR, seed 0"), Card("a", "DeACL, seed 0"), Card("b", "NCP, seed 0", after=("a",))]
EVENTS = [
    Event("a", "started", "cuda:0", 1),
    Event("a", "again", "cuda:0", 1, "a signal ended it (9)"),
    Event("a", "started", "cuda:1", 2),
    Event("a", "failed", "cuda:1", 2, "it ended with the exit code 1"),
    Event("b", "left out", why="a is not done"),
]


class Played:
    """A launcher that tells what it was given, and is interrupted where nothing is left."""

    def __init__(self, events: list[Event], then: type[BaseException] | None = None) -> None:
        self.events, self.then, self.closed = events, then, False

    def launch(self, tasks: Any, folder: Path) -> Iterator[Event]:
        try:
            yield from self.events
            if self.then is not None:
                raise self.then
        finally:
            self.closed = True


def tasks(folder: Path) -> list[Task]:
    return [Task(name, ("true",), None, folder / "log", folder) for name in ("a", "b")]


def test_a_log_gets_a_line_for_each_event(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last = carry_out(Played(EVENTS), tasks(tmp_path), CARDS, tmp_path)  # type: ignore[arg-type]
    lines = [line.partition(" ")[2] for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        "DeACL, seed 0 started on cuda:0",
        "DeACL, seed 0 again: a signal ended it (9)",
        "DeACL, seed 0 started on cuda:1 (attempt 2)",
        "DeACL, seed 0 failed (attempt 2): it ended with the exit code 1",
        "NCP, seed 0 left out: a is not done",
    ]
    assert {name: event.state for name, event in last.items()} == {"a": "failed", "b": "left out"}
    assert [standing.state for standing in read_board(tmp_path)] == ["done", "failed", "left out"]


def test_a_terminal_shows_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as file:
        monkeypatch.setattr(view, "Console", lambda **_: Console(file=file, width=120, force_terminal=True))
        monkeypatch.setattr(view, "_SECONDS", 0.01)
        carry_out(Played(EVENTS), tasks(tmp_path), CARDS, tmp_path)  # type: ignore[arg-type]
        file.flush()
        told = os.read(shown, 1 << 20).decode()
    os.close(shown)
    assert "3 tasks: 1 done, 1 failed, 1 left out" in told
    for word in ("waits for, or why", "SimCLR, seed 0", "it ended with the exit code 1", "a is not done"):
        assert word in told
    assert "\x1b[" in told, "it is drawn over what was there"
    assert "started on" not in told


def test_who_is_interrupted_closes_the_launcher_and_says_what_becomes_of_the_tasks(tmp_path: Path) -> None:
    played = Played(EVENTS[:1], KeyboardInterrupt)
    with pytest.raises(Interrupted, match="tasks in the queue go on there"):
        carry_out(played, tasks(tmp_path), CARDS, tmp_path)  # type: ignore[arg-type]
    assert played.closed
    assert read_board(tmp_path)[1].state == "started"
