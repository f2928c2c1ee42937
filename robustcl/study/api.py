"""``compose`` and ``run`` a study: from its name to runs, a table and figures in one directory."""

from __future__ import annotations

import math
from pathlib import Path

from robustcl.disk import make_folder, write_atomically
from robustcl.errors import UsageError
from robustcl.launch.board import FOLDER
from robustcl.run.machine import check_device
from robustcl.run.occupation import only_one
from robustcl.store import places
from robustcl.study.composed import Composed
from robustcl.study.conclusion import ModelReadings, conclude
from robustcl.study.finished import FinishedStudy
from robustcl.study.grammar import source
from robustcl.study.grammar.parsing import check_other
from robustcl.study.grammar.study import Study
from robustcl.study.numbers import checks, models
from robustcl.study.numbers.reading import Reading
from robustcl.study.plan import elsewhere
from robustcl.study.plan.planned import plan
from robustcl.study.plan.setting import Setting
from robustcl.study.plan.timings import Timings
from robustcl.study.runs.cards import RUNS
from robustcl.study.runs.execution import Machine, Say, execute, execute_one, find_unfinished, preflight_all
from robustcl.train.engine import Engine
from robustcl.train.log import Watcher, watch_nothing

__all__ = ["Composed", "FinishedStudy", "Setting", "compose", "default_folder", "run", "run_one"]


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
    planned = plan(name, study, setting, timings)
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
    store: str | Path | None = None,
) -> FinishedStudy:
    """Run whatever the directory lacks, then write study.md, study.csv, study.html and the figures into it.

    ``out`` is by default ``studies/NAME-BUDGET``, with the data set where one was asked for; the same call goes on
    after an interruption, and another number of seeds adds to what is there. ``so_far``: nothing is trained; runs that
    are not finished are left out, and a note names them. ``store``: folder of finished stages, from which equal ones
    are taken, "none" for none; left out, ROBUSTCL_STORE, else one in the home folder.

    Raises:
        UsageError: data that do not fit, a directory that holds other runs, or, ``so_far``, none that is finished.
        Interrupted: Ctrl-C or SIGTERM.
    """
    folder = Path(out) if out is not None else default_folder(composed.study, composed.setting)
    machine = Machine(device, precision, places.find_place(store, places.HOME))
    if so_far:
        return conclude(composed, folder, find_unfinished(composed.planned, folder), {})
    preflight_all(composed.planned, machine, folder)
    if composed.timings is not None:
        composed.timings.keep(folder)
    found = _models(composed, folder, machine, say)
    with only_one(make_folder(folder)):
        failed = execute(composed.planned, folder, machine, watcher=watcher, say=say)
    return conclude(composed, folder, failed, found)


def run_one(
    composed: Composed,
    only: str,
    until: str | None = None,
    out: str | Path | None = None,
    *,
    device: str = "auto",
    precision: str = "32-true",
    watcher: Watcher = watch_nothing,
    say: Say = lambda sentence: None,
    store: str | Path | None = None,
) -> Path:
    """Run one run of a study, named by its folder, or train it up to a stage; no table is made. Returns its directory.

    Raises:
        UsageError: data that do not fit, no such run or stage, or a directory that holds another run.
        NonFiniteLoss: its loss became infinite.
        Interrupted: Ctrl-C or SIGTERM.
    """
    folder = Path(out) if out is not None else default_folder(composed.study, composed.setting)
    machine = Machine(device, precision, places.find_place(store, places.HOME))
    preflight_all([run for run in composed.planned if run.folder == only], machine, folder)
    execute_one(composed.planned, only, until, folder, machine, watcher, say)
    if until is None:
        write_atomically(make_folder(folder / FOLDER) / f"{only}.done", "")
    return folder / RUNS / only


def default_folder(study: Study, setting: Setting) -> Path:
    """Return where a study goes that was not told where."""
    names = [setting.dataset, *(elsewhere.other(text).use for text in setting.others)]
    parts = [study.name, *(name.partition(":")[0] for name in names if name), setting.budget]
    return Path("studies") / "-".join(parts)


def _models(composed: Composed, folder: Path, machine: Machine, say: Say) -> ModelReadings:
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
