"""Tasks as they go, for who waits for them: one table that lives on a terminal, plain lines in a log."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from robustcl.launch.standings import HEAD, stamp, sum_up, tabulate
from robustcl.tasks import Event
from robustcl.terminal import printable
from robustcl.terminal.width import is_terminal

_SECONDS = 2.0
"""Between two looks at what has been logged."""


class TaskView:
    """Shows the board of a folder while the context is open."""

    def __init__(self, folder: Path, titles: Mapping[str, str]) -> None:
        self.folder, self.titles = folder, titles
        self.console = Console(stderr=True, force_jupyter=False)
        self._live: Live | None = None
        self._over = threading.Event()
        self._looks: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal and is_terminal(self.console.file):
            self._live = Live(self._table(), console=self.console, auto_refresh=False, transient=False)
            self._live.start()
            self._looks = threading.Thread(target=self._look, name="view", daemon=True)
            self._looks.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._looks is not None:
            self._looks.join()
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
            self._live.stop()

    def say(self, sentence: str) -> None:
        """Print a sentence above the table."""
        self.console.print(printable(sentence), highlight=False, markup=False, soft_wrap=True)

    def show(self, event: Event) -> None:
        """Show what has become of a task; what was done before is in the table alone."""
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
        elif event.attempt or event.state in ("waits", "left out"):
            parts = [stamp(), self.titles.get(event.task, event.task), event.state]
            parts += [f"on {event.place}"] if event.state == "started" else []
            parts += [f"(attempt {event.attempt})"] if event.attempt > 1 else []
            self.say(" ".join(parts) + (f": {event.why}" if event.why else ""))

    def _look(self) -> None:
        while not self._over.wait(_SECONDS):
            assert self._live is not None
            self._live.update(self._table(), refresh=True)

    def _table(self) -> Table:
        table = Table(*HEAD, title=sum_up(self.folder), box=None, pad_edge=False, title_justify="left")
        for row in tabulate(self.folder):
            table.add_row(*(printable(cell) for cell in row))
        return table
