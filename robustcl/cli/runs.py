"""What a person sees while a run works, and at its end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click
import tomli_w
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from robustcl import ranks
from robustcl.composition import Composition
from robustcl.composition.run import Run
from robustcl.disk import as_usage, write_atomically
from robustcl.made import headline, of_results
from robustcl.terminal import printable

_LINES = 10
"""Lines that a stage writes into a log that is no terminal."""


class Progress:
    """A bar with the time that remains on a terminal; one line per tenth of a stage elsewhere."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self._bars: Bars | None = None
        self._tasks: dict[str, Any] = {}
        self._told: dict[str, int] = {}
        self._since: dict[str, tuple[float, int]] = {}
        self._last: dict[str, int] = {}

    def __enter__(self) -> Self:
        if self.console.is_terminal:
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


def _loss(numbers: Mapping[str, float]) -> str:
    """Return the loss, if there is one: an evaluation has none."""
    return f"loss {numbers['loss']:.4f}" if "loss" in numbers else ""


def train(
    composition: Composition, out: str | None, *, device: str, devices: int, precision: str, as_json: bool
) -> None:
    """Train a composition and conclude."""
    with Progress() as progress:
        recipe = composition.recipe
        for line in [*headline(recipe.name, recipe.seed, recipe.made), *composition.how]:
            progress.say(line)
        run = composition.train(
            out, device=device, devices=devices, precision=precision, watcher=progress.watch, say=progress.say
        )
    conclude(run, as_json)


def conclude(run: Run, as_json: bool) -> None:
    """Write the report page and print the result table, or the results as JSON."""
    from robustcl import report

    if ranks.rank() != 0:
        return
    judged = bool(run.results.tables["rows"])
    page = report.write(run.path) if judged else None
    if as_json:
        click.echo(json.dumps(run.results.tables))
        return
    if judged:
        tables = run.results.tables
        said = headline(str(tables.get("name")), tables.get("seed"), of_results(tables))
        click.echo("\n".join(map(printable, said)))
        click.echo(printable(report.table([run.path])))
    click.echo(printable(f"run     {run.path}"))
    click.echo(f"report  {page or 'none: the recipe evaluates nothing'}")
    sys.stdout.flush()


def save_recipe(composition: Composition, path: Path) -> None:
    """Keep the composed recipe as TOML."""
    with as_usage(f"--save {path}", "choose another file"):
        write_atomically(path, tomli_w.dumps(dict(composition.tables)))
