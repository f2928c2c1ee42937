"""``compose`` and ``run`` a study: from its name to runs, a table and figures in one directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustcl.study import checks, columns, figure, grid, page, source, table
from robustcl.study.grammar import Study
from robustcl.study.grid import Planned, Setting
from robustcl.study.run import RUNS, Machine, Say, execute, preflight_all
from robustcl.study.table import Line
from robustcl.train.log import Watcher, watch_nothing


@dataclass(frozen=True, slots=True)
class Composed:
    """A study whose every row composes and can have every column; nothing is trained yet."""

    study: Study
    setting: Setting
    planned: tuple[Planned, ...]

    def explain(self) -> str:
        """Return the runs in words, and what each starts from."""
        runs = {run.folder for run in self.planned}
        lines = [f"study {self.study.name}: {len(self.planned)} numbers a column, from {len(runs)} runs"]
        for run in self.planned:
            stages = ", ".join(f"{stage.name} ({stage.epochs} epochs)" for stage in run.composition.stages)
            lines.append(f"  {run.label}, seed {run.seed}, runs/{run.folder}: {stages}")
        columns = self.study.columns_of(self.study.row[0])
        lines.append(f"columns: {', '.join(column.name for column in columns) or 'none'}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished study: its table, what else is to be said, and where everything is."""

    path: Path
    study: Study
    lines: tuple[Line, ...]
    data: str
    notes: tuple[str, ...]
    failed: Mapping[str, str]

    def markdown(self) -> str:
        """Return the table in Markdown, with what differs from the paper below it."""
        return page.markdown(self.study, self.lines, self.data, self.notes)

    def records(self) -> list[dict[str, Any]]:
        """Return one record for each number."""
        return table.records(self.lines, self.data)


def compose(name: str, setting: Setting | None = None) -> Composed:
    """Compose every run of a study, installed or a file ``my.toml``; nothing is opened and nothing is trained.

    Raises:
        UsageError: an unknown study, a row that does not compose, a column that a run cannot have.
    """
    setting = setting or Setting()
    study = source.read(name, dataset=setting.dataset, budget=setting.budget)
    planned = grid.plan(name, study, setting)
    checks.check(study, planned)
    return Composed(study, setting, tuple(planned))


def run(
    composed: Composed,
    out: str | Path | None = None,
    *,
    device: str = "auto",
    precision: str = "32-true",
    watcher: Watcher = watch_nothing,
    say: Say = lambda sentence: None,
) -> Outcome:
    """Run whatever the directory lacks, then write study.md, study.csv, study.html and the figures into it.

    ``out`` is by default ``studies/NAME-BUDGET``, with the data set where one was asked for; the same call goes on
    after an interruption, and another number of seeds adds to what is there.

    Raises:
        UsageError: data that do not fit, or a directory that holds other runs.
        Interrupted: Ctrl-C or SIGTERM.
    """
    folder = Path(out) if out is not None else default_folder(composed)
    machine = Machine(device, precision)
    preflight_all(composed.planned, machine, folder)
    failed = execute(composed.planned, folder, machine, watcher=watcher, say=say)
    return _concluded(composed, folder, failed)


def default_folder(composed: Composed) -> Path:
    """Return where a study goes that was not told where."""
    setting = composed.setting
    parts = [composed.study.name, *([setting.dataset.partition(":")[0]] if setting.dataset else []), setting.budget]
    return Path("studies") / "-".join(parts)


def _concluded(composed: Composed, folder: Path, failed: Mapping[str, str]) -> Outcome:
    study = composed.study
    data = table.published(study, grid.dataset(composed.planned[0]))
    done = [(run, folder / RUNS / run.folder) for run in composed.planned if run.folder not in failed]
    lines = []
    for label, row, point in grid.points(study):
        mine = [(run, place) for run, place in done if run.label == label]
        beside = study.columns_of(row)
        readings = [[columns.read(column, run, place, beside=beside, runs=done) for column in beside]
                    for run, place in mine]  # fmt: skip
        lines.append(table.line(study, label, row, point, readings, data))
    outcome = Outcome(folder, study, tuple(lines), data, tuple(_notes(composed, lines, failed)), failed)
    drawings = figure.drawn(study, lines, done, data)
    page.write(study, outcome.lines, data, outcome.notes, drawings, folder)
    return outcome


def _notes(composed: Composed, lines: list[Line], failed: Mapping[str, str]) -> list[str]:
    """Say under which circumstances our numbers came about, before what the study itself says."""
    study, setting, first = composed.study, composed.setting, composed.planned[0]
    seeds = "1 seed" if setting.seeds == 1 else f"{setting.seeds} seeds"
    ours = f"ours: {grid.dataset(first)}, budget {setting.budget}, {seeds}, threat {first.composition.ball.norm} "
    ours += f"{first.composition.recipe.threat.eps}"
    if setting.overrides:
        ours += f", changed by {' '.join(setting.overrides)}"
    theirs = f"the paper's: {study.setting}" if study.setting else ""
    cells = [cell for line in lines for cell in line.cells]
    spread = [
        "± is the standard deviation over seeds" if any(cell.std is not None for cell in cells) else "",
        "[ ] is the 95 % interval over images" if any(cell.low is not None for cell in cells) else "",
    ]
    lost = [f"{name} is left out: {why}" for name, why in failed.items()]
    return [said for said in (ours, theirs, *spread, *study.differs, *lost) if said]
