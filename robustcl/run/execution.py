"""A run: stages in order, evaluation, results; every step of it can be cut off and taken up again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from robustcl import ranks
from robustcl.composition.lock import digest_until
from robustcl.composition.plan import RecipePlan
from robustcl.disk import as_usage, make_folder
from robustcl.errors import RobustclError, UsageError, near
from robustcl.evaluate.work import WHOLE, Work
from robustcl.run import answers, changes, complete, contents, machine, preflight
from robustcl.run import folder as folder_of
from robustcl.run.evaluation import measure_run
from robustcl.run.machine import check_device
from robustcl.run.results import Results, describe_run
from robustcl.run.sharing import SharedStages
from robustcl.run.splits import Splits, open_splits
from robustcl.run.stages import Say, Stages
from robustcl.store import places
from robustcl.terminal.progress import show_progress
from robustcl.train import stage_files
from robustcl.train.engine import Engine
from robustcl.train.log import Watcher
from robustcl.train.world import Devices, require


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run: its directory and its results."""

    path: Path
    results: Results


def start(
    composition: RecipePlan,
    out: str | Path | None,
    *,
    device: str,
    devices: Devices,
    num_nodes: int | None,
    precision: str,
    watcher: Watcher,
    say: Say,
    store: str | Path | None = None,
) -> Run:
    """Create the run directory and run; see ``Composition.train``."""
    check_device(device)
    require(devices, num_nodes)
    place = places.find_place(store)
    engine = Engine(device, devices, precision, num_nodes)
    options = {"device": device, "devices": devices or engine.world.devices, "num_nodes": engine.world.nodes}
    engine.launch()
    if out is not None and ranks.rank() == 0:
        folder_of.free(composition, out)
    # What cannot be run must not leave a directory behind that the next attempt would trip over.
    splits = open_splits(composition, engine.device, test=bool(composition.evaluations))
    preflight.check(composition, splits)
    folder = ranks.from_first(folder_of.free(composition, out) if ranks.rank() == 0 else None)
    if ranks.rank() == 0:
        with as_usage(f"--out {folder}", "choose another directory"):
            make_folder(folder, within=folder)
    # The lock comes first: of two starts on one directory only one writes a recipe.
    with folder_of.only_one(folder):
        if ranks.rank() == 0:
            folder_of.free(composition, folder)
            kept = {**options, "precision": precision, **remember_store(store, place)}
            folder_of.create(composition, folder, kept)
        ranks.wait()
        machine.require_one_disk(folder)
        return execute(composition, folder, engine, watcher, say, splits, place=place)


def remember_store(asked: str | Path | None, place: Path | None) -> dict[str, str]:
    """Return what run.json says of the store, nothing where neither a flag nor the environment has asked for one."""
    if place is not None:
        return {"store": str(place)}
    return {} if asked is None else {"store": places.NONE}


def add_report(run: Run, say: Say) -> Run:
    """Write the page of a run that was judged, and return the run."""
    from robustcl import report  # heavy, and asked for once all is done and kept

    if ranks.rank() == 0 and run.results.tables["rows"]:
        try:
            say(f"report {report.write(run.path)}")
        except RobustclError as error:  # the run itself is done and kept
            say(f"no report: {error}")
    return run


def resume(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    device: str | None = None,
    devices: Devices = None,
    num_nodes: int | None = None,
    watcher: Watcher | None = None,
    say: Say | None = None,
    report: bool = True,
    store: str | Path | None = None,
) -> Run:
    """Continue a run where it was cut off; one that lacks nothing stays as it is, to the byte.

    ``overrides`` are of what may change in a run that has begun, "stage.robust.optimizer.lr=0.01": see ``changes``.
    ``device``, ``devices`` and ``num_nodes`` are kept in its run.json; left out, they are those that torchrun, srun or
    Kubeflow has started, else the run's. A checkpoint bears any number. The others are as ``RecipePlan.train`` has
    them; ``store`` left out is the one with which the run began.

    Raises:
        UsageError: the directory holds no run, or its recipe can no longer be composed as it was.
    """
    folder = Path(path)
    composition, options = folder_of.reopen(folder)
    remembers = store is None and options["store"]
    place = places.find_remembered(options["store"]) if remembers else places.find_place(store)
    asked = machine.ask(folder, options, device, devices, num_nodes)
    engine, changed = None, list[str]()
    if overrides:
        engine = asked.engine()
        changed = _change(folder, overrides, engine)
        composition, _ = folder_of.reopen(folder)
    elif asked.gathered:
        engine = asked.engine()
        engine.launch()
    whole = complete.results(composition, folder) if ranks.rank() == 0 else None
    if (whole := ranks.from_first(whole)) is not None:
        return Run(folder, Results(whole))
    engine = engine or asked.engine()
    engine.launch()
    with show_progress(watcher, say) as (watch, tell):
        if remembers and place is None and options["store"] != places.NONE:
            tell(f"the store {options['store']}, with which the run began, is no store here: going on without one")
        for sentence in changed:
            tell(sentence)
        with folder_of.only_one(folder):
            asked.keep(folder, engine)
            run = execute(composition, folder, engine, watch, tell, place=place)
        return add_report(run, tell) if report else run


def train_until(path: str | Path, until: str, *, watcher: Watcher, say: Say, store: str | Path | None = None) -> None:
    """Train the stages of a run up to one of a name, that one too, as far as they are not finished; judge nothing.

    Raises:
        UsageError: the directory holds no run, or the run has no such stage.
    """
    folder = Path(path)
    composition, options = folder_of.reopen(folder)
    names = [stage.name for stage in composition.recipe.stage]
    if until not in names:
        raise UsageError(f"{folder} has no stage {until!r}{near(until, names)}; it has {', '.join(names)}")
    place = places.find_place(store if store is not None else options["store"] or None)
    engine = Engine(options["device"], options["devices"], options["precision"])
    engine.launch()
    with folder_of.only_one(folder):
        _train(composition, folder, engine, watcher, say, None, place, until)
        engine.release()


def _change(folder: Path, overrides: Sequence[str], engine: Engine) -> list[str]:
    """Change a run once, before any of its processes goes by its lock; return what was changed, in words.

    Processes that we start read it when it is done; those that others have started wait for the first one.
    """
    if engine.starts_processes:
        return changes.change(folder, overrides) if engine.starter else []
    engine.launch()
    told = changes.change(folder, overrides) if ranks.rank() == 0 else []
    found: list[str] = ranks.from_first(told)
    return found


def execute(
    composition: RecipePlan,
    folder: Path,
    engine: Engine,
    watcher: Watcher,
    say: Say,
    splits: Splits | None = None,
    work: Work = WHOLE,
    own: bool = True,
    place: Path | None = None,
) -> Run:
    """Do whatever a run directory still lacks; the data are opened where ``splits`` does not bring them.

    ``work`` is this process's part of the evaluation. A share or a worker writes a journal and no results.json.
    ``own``: whether the composition is that of the run's lock, whose hash results.json then holds.
    ``place``: the store of finished stages, where one is used.
    """
    with folder_of.only_one(folder, work.occupies):
        splits, stages = _train(composition, folder, engine, watcher, say, splits, place)
        started = time.monotonic()
        measured = measure_run(stages, work)
        seconds = time.monotonic() - started
        results = Results(describe_run(composition, folder, splits, measured, seconds, engine))
        if ranks.rank() == 0 and work.whole:
            told = {key: value for key, value in results.tables.items() if own or key != "recipe_hash"}
            results = Results(answers.keep(folder, told, say))
        ranks.wait()
        engine.release()
    return Run(folder, results)


def _train(
    composition: RecipePlan, folder: Path, engine: Engine, watcher: Watcher, say: Say, splits: Splits | None,
    place: Path | None, until: str | None = None,
) -> tuple[Splits, Stages]:  # fmt: skip
    """Train the stages that a run directory lacks, up to one of a name where one is said."""
    splits = splits or open_splits(composition, engine.device, test=bool(composition.evaluations))
    contents.keep_or_compare(folder, splits, say)
    stages = Stages(composition, folder, engine, watcher, say, splits)
    shared = SharedStages(stages, place)
    for number, stage in enumerate(composition.recipe.stage):
        if ranks.by_first(partial(stage_files.facts, folder, stage.name)) is None:
            shared.train(number)
        ranks.by_first(partial(stage_files.require_recipe, folder, stage.name, digest_until(folder, number)))
        if stage.name == until:
            break
    return splits, stages
