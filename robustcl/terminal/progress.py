"""How far a run is, for the person who waits for it: a bar on a terminal, a few lines elsewhere."""

from __future__ import annotations

import builtins
import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from robustcl import ranks
from robustcl.terminal import printable
from robustcl.terminal.width import is_terminal
from robustcl.train.log import Watcher, watch_nothing

_LINES = 10
"""Lines that a stage writes into a log that is no terminal."""


Say = Callable[[str], None]


class ProgressBar:
    """A bar with the time that remains on a terminal; one line per tenth of a stage elsewhere."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, force_jupyter=False)  # a notebook shows lines, and needs no widgets
        self._bars: Bars | None = None
        self._tasks: dict[str, Any] = {}
        self._told: dict[str, int] = {}
        self._since: dict[str, tuple[float, int]] = {}
        self._last: dict[str, int] = {}

    def __enter__(self) -> Self:
        if self.console.is_terminal and is_terminal(self.console.file):
            self._bars = Bars(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[loss]}"),
                TimeRemainingColumn(), console=self.console,
            )  # fmt: skip
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def say(self, sentence: str) -> None:
        """Print a sentence above the bars."""
        if ranks.rank() == 0:
            self.console.print(printable(sentence), highlight=False, markup=False, soft_wrap=True)

    def watch(self, stage: str, step: int, steps: int, numbers: Mapping[str, float]) -> None:
        """Show where a stage stands."""
        if self._bars is None:
            self._line(stage, step, steps, numbers)
            return
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=steps, loss="")
        if self._again(stage, step):
            self._bars.reset(self._tasks[stage], total=steps)
        self._bars.update(self._tasks[stage], completed=step, loss=_loss(numbers))

    def _line(self, stage: str, step: int, steps: int, numbers: Mapping[str, float]) -> None:
        if self._again(stage, step):
            self._told.pop(stage, None)
            self._since.pop(stage)
        started, first = self._since.setdefault(stage, (time.monotonic(), step))
        part = step * _LINES // steps
        if part == self._told.get(stage, 0) and step != steps:
            return
        self._told[stage] = part
        rate = (time.monotonic() - started) / max(step - first, 1)
        left = f"about {rate * (steps - step):.0f} s left" if first < step < steps else ""
        self.say(" ".join(f"{stage} {step}/{steps} {_loss(numbers)} {left}".split()))

    def _again(self, stage: str, step: int) -> bool:
        """Say whether a stage has begun anew, as the attack of each point of a curve does under one name."""
        before, self._last[stage] = self._last.get(stage, step - 1), step
        return step <= before


@contextlib.contextmanager
def show_progress(watcher: Watcher | None, say: Say | None) -> Iterator[tuple[Watcher, Say]]:
    """Yield who is told of steps and sentences: those given, or, where none is and a person waits, a ``Progress``."""
    if watcher is None and say is None and waits():
        with ProgressBar() as progress:
            yield progress.watch, progress.say
        return
    yield watcher or watch_nothing, say or _silence


def waits() -> bool:
    """Say whether a person sees what is printed now: a terminal, an interactive Python, a notebook."""
    return sys.stderr.isatty() or hasattr(sys, "ps1") or hasattr(builtins, "__IPYTHON__")


def _silence(sentence: str) -> None:
    """Hear in silence."""


def _loss(numbers: Mapping[str, float]) -> str:
    """Return the loss, if there is one: an evaluation has none."""
    return f"loss {numbers['loss']:.4f}" if "loss" in numbers else ""
