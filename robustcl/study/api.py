"""``compose`` and ``run`` a study: from its name to runs, a table and figures in one directory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from robustcl.errors import UsageError
from robustcl.recipe import Use
from robustcl.report.measured import OLDER
from robustcl.run.execution import check_device
from robustcl.study import (
    checks,
    choices,
    claimed,
    columns,
    derived,
    elsewhere,
    figure,
    grid,
    layout,
    models,
    page,
    ranking,
    source,
    spots,
    table,
    terms,
)
from robustcl.study.asked import questions
from robustcl.study.finished import FinishedStudy
from robustcl.study.grammar import Study
from robustcl.study.grid import Planned
from robustcl.study.parsing import check_other
from robustcl.study.ranking import Ranked
from robustcl.study.reading import Reading
from robustcl.study.rows import Setting
from robustcl.study.run import RUNS, Machine, Say, execute, find_unfinished, preflight_all
from robustcl.study.spots import Spot
from robustcl.study.table import StudyLine
from robustcl.study.timings import Timings
from robustcl.threat import Ball
from robustcl.train.engine import Engine
from robustcl.train.log import Watcher, watch_nothing


@dataclass(frozen=True, slots=True)
class Composed:
    """A study whose every row composes and can have every column; nothing is trained yet.

    ball: the threat of rows that are models, in columns without one of their own; ``None`` where no row is one.
    timings: of equal seconds, what every epoch takes.
    """

    study: Study
    setting: Setting
    planned: tuple[Planned, ...]
    ball: Ball | None = None
    timings: Timings | None = None

    @property
    def dataset(self) -> Use:
        """What the rows are trained on, or the models judged on."""
        if self.planned:
            first = next((run for run in self.planned if run.row.on == "data"), self.planned[0])
            return first.composition.recipe.data
        path = {"path": self.setting.data_dir} if self.setting.data_dir is not None else {}
        return Use(use=str(self.setting.dataset), **path)

    def explain(self) -> str:
        """Return the runs in words, and what each starts from."""
        runs = {run.folder for run in self.planned}
        numbers = len(self.planned) + len(self.setting.models) * self.setting.seeds
        models = f" and {len(self.setting.models)} models" if self.setting.models else ""
        lines = [f"study {self.study.name}: {numbers} numbers a column, from {len(runs)} runs{models}"]
        for run in self.planned:
            stages = ", ".join(f"{stage.name} ({stage.epochs} epochs)" for stage in run.composition.stages)
            lines.append(f"  {run.label}, seed {run.seed}, runs/{run.folder}: {stages}")
            if run.elsewhere is not None:
                judged = [run.composition.evaluations[place].table.use for place in run.elsewhere.places]
                lines.append(f"    then {', '.join(judged)} on {spots.show_dataset(run.elsewhere.dataset)}")
        lines += [f"  {name}: the model {model.spec}" for name, model in self.setting.models.items()]
        columns = self.study.columns_of(self.study.row[0])
        lines.append(f"columns: {', '.join(column.name for column in columns) or 'none'}")
        if self.study.claim:
            lines.append(f"claims: {', '.join(claim.name for claim in self.study.claim)}")
        return "\n".join(lines + self.absent() + checks.say_lacking(self.planned))

    def absent(self) -> list[str]:
        """Say which rows have no numbers, and why."""
        given = self.setting.models
        names = [row.name for row in self.study.row if (row.name not in given if given else row.recipe is None)]
        if not names:
            return []
        if given:
            return [f"left out, because no --model is given for them: {'; '.join(names)}"]
        said = "judge trained ones with --model 'ROW=SPEC'"
        return [f"left out, because no recipe here trains them: {'; '.join(names)}; {said}"]


def compose(
    name: str,
    setting: Setting | None = None,
    *,
    out: str | Path | None = None,
    device: str = "auto",
    precision: str = "32-true",
) -> Composed:
    """Compose every run of a study, installed or a file ``my.toml``; nothing is opened and nothing is trained.

    Of equal seconds ``out``, ``device`` and ``precision`` tell where they are kept and what they are: those of ``run``.

    Raises:
        UsageError: an unknown study, a row that does not compose, a column that a run cannot have.
    """
    setting = setting or Setting()
    study = source.read(name, dataset=setting.dataset, budget=setting.budget)
    if setting.others:
        study = study.model_copy(update={"other": [elsewhere.other(text) for text in setting.others]})
        check_other(study, f"the study {name}")
    if setting.amount is not None:
        study = _with_amount(study, setting.amount)
    for other in study.other:
        elsewhere.make_dataset(other, f"the study {study.name}: other")
    if setting.models:
        models.check(study, setting.models, setting.dataset)
        return Composed(study, setting, (), models.threat(study, setting.overrides))
    timings = Timings(Path(out) if out is not None else default_folder(study, setting), device, precision)
    planned = grid.plan(name, study, setting, timings)
    if not planned:
        raise UsageError(f"the study {study.name}: no recipe trains any of its rows; give models by --model ROW=SPEC")
    planned = checks.check(study, planned)
    return Composed(study, setting, tuple(planned), timings=timings if timings.found else None)


def _with_amount(study: Study, amount: float) -> Study:
    if study.equal is None:
        raise UsageError(f"amount = {amount:g} of what? the study {study.name} makes nothing equal; leave it out, or "
                         'give a study file with equal = "steps"')  # fmt: skip
    if not 0 < amount < math.inf:
        raise UsageError(f"amount = {amount:g} {study.equal}: it has to be above 0")
    return study.model_copy(update={"amount": amount})


def run(
    composed: Composed,
    out: str | Path | None = None,
    *,
    device: str = "auto",
    precision: str = "32-true",
    watcher: Watcher = watch_nothing,
    say: Say = lambda sentence: None,
    so_far: bool = False,
) -> FinishedStudy:
    """Run whatever the directory lacks, then write study.md, study.csv, study.html and the figures into it.

    ``out`` is by default ``studies/NAME-BUDGET``, with the data set where one was asked for; the same call goes on
    after an interruption, and another number of seeds adds to what is there. ``so_far``: nothing is trained; runs that
    are not finished are left out, and a note names them.

    Raises:
        UsageError: data that do not fit, a directory that holds other runs, or, ``so_far``, none that is finished.
        Interrupted: Ctrl-C or SIGTERM.
    """
    folder = Path(out) if out is not None else default_folder(composed.study, composed.setting)
    machine = Machine(device, precision)
    if so_far:
        return _concluded(composed, folder, find_unfinished(composed.planned, folder), {})
    preflight_all(composed.planned, machine, folder)
    if composed.timings is not None:
        composed.timings.keep(folder)
    found = _models(composed, folder, machine, say)
    failed = execute(composed.planned, folder, machine, watcher=watcher, say=say)
    return _concluded(composed, folder, failed, found)


def default_folder(study: Study, setting: Setting) -> Path:
    """Return where a study goes that was not told where."""
    names = [setting.dataset, *(elsewhere.other(text).use for text in setting.others)]
    parts = [study.name, *(name.partition(":")[0] for name in names if name), setting.budget]
    return Path("studies") / "-".join(parts)


Measured = Mapping[str, Sequence[Sequence[Reading | None]]]
"""Row -> for each seed, the numbers of its columns."""


def _models(composed: Composed, folder: Path, machine: Machine, say: Say) -> Measured:
    """Measure the rows that are models, when all of them have been opened once."""
    asked, setting = composed.setting.models, composed.setting
    if composed.ball is None:
        return {}
    check_device(machine.device)
    engine = Engine(machine.device, 1, machine.precision)
    judged_on = models.corruptions_of(composed.study)
    bench = models.ModelBench(composed.dataset, setting.samples, composed.ball, engine, judged_on)
    digests = models.preflight(bench, asked, say)
    found: dict[str, list[list[Reading | None]]] = {}
    for number, row in enumerate((row for row in composed.study.row if row.name in asked), 1):
        say(f"[{number}/{len(asked)}] {row.name}: the model {asked[row.name].spec}")
        place, columns = folder / "models" / digests[row.name], composed.study.columns_of(row)
        found[row.name] = [
            models.measure(columns, bench, asked[row.name], digests[row.name], seed, place)
            for seed in range(setting.seeds)
        ]
    return found


def _concluded(composed: Composed, folder: Path, failed: Mapping[str, str], found: Measured) -> FinishedStudy:
    study = composed.study
    every = [(run, folder / RUNS / run.folder) for run in composed.planned if run.folder not in failed]
    done, chosen = choices.choose_all(study, every)
    read = [_line(composed, spot, done, found) for spot in spots.points(study)]
    ranked = ranking.rank(study, derived.fill(study, read))
    data = ", ".join(dict.fromkeys(line.data for line in ranked.lines))
    grids = [layout.make_grid(study, ranked.lines, data, ranked.said)] if study.column else []
    row_terms = terms.sum_up_all(done)
    grids += [terms.make_grid(study, row_terms)] if row_terms else []
    claims = claimed.decide_all(study, composed.setting, composed.dataset.use, ranked.lines, row_terms)
    notes = (*_notes(composed, folder, ranked, failed), *chosen)
    outcome = FinishedStudy(folder, study, ranked.lines, tuple(grids), notes, failed, row_terms, claims)
    drawings = figure.draw_all(study, ranked.lines, done, data)
    page.write(outcome, drawings)
    claimed.keep(study, composed.setting, composed.dataset, _threat(composed), claims, done, row_terms, folder)
    return outcome


def _line(composed: Composed, spot: Spot, done: Sequence[tuple[Planned, Path]], found: Measured) -> StudyLine:
    """Read the numbers of one line, of each seed that is finished."""
    study, setting, name = composed.study, composed.setting, spot.row.name
    mine = [(run, place) for run, place in done if run.label == spot.label]
    beside = study.columns_of(spot.row)
    readings = found.get(name) or [columns.read(beside, run, place, done) for run, place in mine]
    seeds = [run.seed for run, _ in mine] if name not in found else None
    used = spot.other or composed.dataset
    data = table.find_published(study, used)
    planned = setting.seeds if readings else 0
    return table.line(study, spot, readings, data, seeds=seeds, planned=planned,
                      own=table.is_published_of(used, data), alike=_alike(spot, mine))  # fmt: skip


def _alike(spot: Spot, mine: Sequence[tuple[Planned, Path]]) -> tuple[str, str]:
    """Return what the numbers of a line are of, and those on the other data set: images and threat."""
    if not mine:
        return "", ""
    plan = mine[0][0].composition
    ball = f"{plan.ball.norm} {float(plan.ball.eps):g}"
    own = spot.other if spot.other is not None and spot.row.on == "other" else plan.recipe.data
    return f"{spots.show_dataset(own)}, {ball}", f"{spots.show_dataset(spot.other or own)}, {ball}"


def _notes(composed: Composed, folder: Path, ranked: Ranked, failed: Mapping[str, str]) -> list[str]:
    """Say under which circumstances our numbers came about, before what the study itself says."""
    study, setting = composed.study, composed.setting
    theirs = f"the paper's: {study.setting}" if study.setting else ""
    cells = [cell for line in ranked.lines for cell in line.cells]
    spread = [
        "± is the standard deviation over seeds" if any(cell.std is not None for cell in cells) else "",
        "[ ] is the 95 % interval over images" if any(cell.low is not None for cell in cells) else "",
    ]
    given = [f"{name}: {model.spec}{f', {model.weights}' if model.weights else ''}"
             for name, model in setting.models.items()]  # fmt: skip
    lost = [f"{name} is left out: {why}" for name, why in failed.items()]
    runs = dict.fromkeys(folder / RUNS / run.folder / OLDER for run in composed.planned)
    older = [f"{file.relative_to(folder)} is of an earlier version: what stands here was measured anew"
             for file in (*runs, *sorted(folder.glob(f"models/*/{OLDER}"))) if file.is_file()]  # fmt: skip
    said = [
        _ours(composed),
        *terms.describe_equal(study, composed.planned),
        *questions(study, composed.planned, ranked.lines),
        *derived.describe_images(study, ranked.lines),
        *given,
        theirs,
        *spread,
        ranked.said,
        *study.differs,
        *composed.absent(),
        *checks.say_lacking(composed.planned),
        *lost,
        *older,
    ]
    return [sentence for sentence in said if sentence]


def _threat(composed: Composed) -> str:
    ball = composed.ball or composed.planned[0].composition.ball
    eps = f"{float(ball.eps):.4g}" if composed.ball else composed.planned[0].composition.recipe.threat.eps
    return f"{ball.norm} {eps}"


def _ours(composed: Composed) -> str:
    setting = composed.setting
    seeds = "1 seed" if setting.seeds == 1 else f"{setting.seeds} seeds"
    used = spots.show_dataset(composed.dataset)
    others = (
        f", judged on {' and '.join(map(spots.show_dataset, composed.study.other))}" if composed.study.other else ""
    )
    samples = f", the first {setting.samples} test images" if setting.samples is not None else ""
    ours = f"ours: {used}{others}, budget {setting.budget}, {seeds}{samples}, threat {_threat(composed)}"
    return ours + (f", changed by {' '.join(setting.overrides)}" if setting.overrides else "")
