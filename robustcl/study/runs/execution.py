"""Running a study: every run of the grid in a directory of its own, each only as far as it is not there yet."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustcl.composition.lock import deciding, digest, lock
from robustcl.disk import read_json
from robustcl.errors import Interrupted, NonFiniteLoss, RobustclError, UsageError, near
from robustcl.launch.board import Board
from robustcl.run import folder as folder_of
from robustcl.run import preflight
from robustcl.run.execution import remember_store, resume, train_until
from robustcl.run.machine import check_device
from robustcl.run.splits import Splits, open_splits
from robustcl.store import places
from robustcl.study.plan.planned import Planned
from robustcl.study.runs import elsewhere
from robustcl.study.runs.cards import RUNS, describe_run
from robustcl.tasks import Event
from robustcl.train import stage_files
from robustcl.train.engine import Engine
from robustcl.train.log import METRICS, Watcher, lines_of, put_lines, watch_nothing

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the runs compute."""

    device: str = "auto"
    precision: str = "32-true"
    place: Path | None = None
    """The store of finished stages, where one is used."""


def preflight_all(planned: Sequence[Planned], machine: Machine, out: Path) -> None:
    """Hold every row against its data and its directory before anything is made.

    Raises:
        UsageError: data or weights that do not fit, or a directory that holds something else.
    """
    check_device(machine.device)
    engine = Engine(machine.device, 1, machine.precision)
    seen: set[str] = set()
    opened: dict[str, Splits] = {}
    for run in planned:
        try:
            _there(run, out / RUNS / run.folder)
            if run.label not in seen:  # the seeds of a row differ in nothing that could be refused
                data = repr((lock(run.composition)["data"], bool(run.composition.evaluations)))
                opened[data] = opened.get(data) or open_splits(
                    run.composition, engine.device, test=bool(run.composition.evaluations)
                )
                preflight.check(run.composition, opened[data])
                if run.elsewhere is not None:
                    elsewhere.check(run.elsewhere, run.composition, opened[data], "other")
        except RobustclError as error:
            raise type(error)(f"row {run.label!r}: {error}") from error.__cause__
        seen.add(run.label)


def execute(
    planned: Sequence[Planned], out: Path, machine: Machine, *, watcher: Watcher = watch_nothing, say: Say
) -> dict[str, str]:
    """Run what is not finished; returns folder -> why, for runs whose loss became infinite.

    Equal compositions are one run, and a run takes the first stages that it shares with an earlier one from there.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; the same call goes on.
    """
    unique = list({run.folder: run for run in planned}.values())
    board, device = Board(out, [describe_run(run) for run in unique]), str(Engine(machine.device).device)
    failed: dict[str, str] = {}
    donors: list[tuple[Planned, Mapping[str, Any]]] = []
    for number, run in enumerate(unique, 1):
        folder = out / RUNS / run.folder
        locked = lock(run.composition)
        said = f"[{number}/{len(unique)}] {run.label}, seed {run.seed}"
        if _there(run, folder) == "finished":
            say(f"{said}: finished already")
            board.note(Event(run.folder, "done", why="it was done before"))
        else:
            say(said)
            board.note(Event(run.folder, "started", device, 1))
            try:
                _begin(run, folder, locked, donors, out, machine, say)
                resume(folder, devices=1, watcher=watcher, say=say, report=False, store=machine.place or places.NONE)
                board.note(Event(run.folder, "done", device, 1))
            except NonFiniteLoss as error:
                say(f"{said}: {error}")
                board.note(Event(run.folder, "failed", device, 1, str(error)))
                failed[run.folder] = str(error)
            except (Interrupted, KeyboardInterrupt) as error:
                board.note(Event(run.folder, "again", device, 1, "it was stopped: give the command again"))
                if isinstance(error, KeyboardInterrupt):
                    raise
                raise Interrupted(f"row {run.label!r}: {error} by giving the same command again") from None
        donors.append((run, locked))
    for run in (one for one in planned if one.elsewhere is not None and one.folder not in failed):
        _judge_elsewhere(run, out / RUNS / run.folder, failed, watcher, say)
    return failed


def execute_one(
    planned: Sequence[Planned], only: str, until: str | None, out: Path, machine: Machine, watcher: Watcher, say: Say
) -> None:
    """Run one of a study's runs, named by its folder, to its end, on the other data set too; or up to a stage.

    Stages that it shares with other runs are taken from those in whose folders they are finished.

    Raises:
        UsageError: the study has no such run, or the run no such stage.
        NonFiniteLoss: its loss became infinite.
        Interrupted: Ctrl-C or SIGTERM; the same call goes on.
    """
    mine = [run for run in planned if run.folder == only]
    if not mine:
        raise UsageError(f"--only {only}: the study has no such run{near(only, [run.folder for run in planned])}; "
                         "--dry-run lists them")  # fmt: skip
    folder = out / RUNS / only
    if _there(mine[0], folder) != "finished":
        donors = [(run, lock(run.composition)) for run in planned if run.folder != only]
        _begin(mine[0], folder, lock(mine[0].composition), donors, out, machine, say)
        if until is not None:
            train_until(folder, until, watcher=watcher, say=say, store=machine.place or places.NONE)
            return
        resume(folder, devices=1, watcher=watcher, say=say, report=False, store=machine.place or places.NONE)
    for run in (one for one in mine if one.elsewhere is not None and until is None):
        assert run.elsewhere is not None
        elsewhere.execute(run.elsewhere, folder, watcher, say)


def is_finished(run: Planned, out: Path) -> bool:
    """Say whether a run is finished, and judged on the other data set where it is to be.

    Raises:
        UsageError: its folder holds another run.
    """
    folder = out / RUNS / run.folder
    parts = [folder, *([folder / run.elsewhere.folder] if run.elsewhere is not None else [])]
    return _there(run, folder) == "finished" and all((part / "results.json").is_file() for part in parts)


def find_unfinished(planned: Sequence[Planned], out: Path) -> dict[str, str]:
    """Return folder -> why, for runs that are not finished, or not yet judged on the other data set.

    Raises:
        UsageError: none is finished, or a folder holds another run.
    """
    found = {}
    for run in planned:
        if not is_finished(run, out):
            found[run.folder] = "it is not finished"
    pending = {(run.label, run.seed) for run in planned if run.folder in found}
    for run in planned:
        if run.tried is not None and (run.label, run.seed) in pending:
            found.setdefault(run.folder, "another value that is tried in its place is not finished")
    if len(found) == len({run.folder for run in planned}):
        raise UsageError(
            f"{out}: no run of the study is finished there; train it first, or name its directory by --out"
        )
    return found


def _judge_elsewhere(run: Planned, folder: Path, failed: dict[str, str], watcher: Watcher, say: Say) -> None:
    assert run.elsewhere is not None
    try:
        elsewhere.execute(run.elsewhere, folder, watcher, say)
    except NonFiniteLoss as error:
        failed[f"{run.folder} on {run.elsewhere.dataset.use}"] = str(error)
    except Interrupted as error:
        raise Interrupted(f"row {run.label!r}: {error} by giving the same command again") from None


def _begin(
    run: Planned,
    folder: Path,
    locked: Mapping[str, Any],
    donors: Sequence[tuple[Planned, Mapping[str, Any]]],
    out: Path,
    machine: Machine,
    say: Say,
) -> None:
    """Make the directory of a run, unless it is there, with the first stages that finished ones share with it."""
    if _there(run, folder) == "free":
        options = {"device": machine.device, "devices": 1, "precision": machine.precision}
        options |= remember_store(None, machine.place)
        folder_of.create(run.composition, folder, options)
        for donor, theirs in donors:
            for stage in shared_stages(locked, theirs):
                if _lend(out / RUNS / donor.folder, folder, stage):
                    say(f"stage {stage}: the same as in {donor.folder}, taken from there")


def _there(run: Planned, folder: Path) -> str:
    """Say whether a run's directory is "free", "begun" or "finished".

    Raises:
        UsageError: it holds another run, or something else.
    """
    if not (folder / "recipe.lock.toml").is_file():
        if not folder.is_dir() or not folder_of.is_begun(file.name for file in folder.iterdir()):
            folder_of.free(run.composition, folder)  # what is written before the lock is nobody's yet
        return "free"
    if (folder / "results.json").is_file() and _hash_of(folder / "results.json") == run.digest:
        return "finished"
    if digest(folder_of.reopen(folder)[0]) != run.digest:
        raise UsageError(
            f"{folder} holds a run with other settings (data set, budget, --set, or another version of the study); "
            "choose another --out"
        )
    return "begun"


def _hash_of(results: Path) -> object:
    """Return which recipe a run's results are of."""
    found = read_json(results, remedy="remove it: the run is then judged again")
    return found.get("recipe_hash") if isinstance(found, dict) else None


def shared_stages(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Return the names of the first stages whose outcome is the same in two runs, by their locks."""
    names: list[str] = []
    for number in range(min(len(mine["stage"]), len(theirs["stage"]))):
        if deciding(mine, number) != deciding(theirs, number):
            break
        names.append(str(mine["stage"][number]["name"]))
    return names


def _lend(donor: Path, folder: Path, stage: str) -> bool:
    """Copy a finished stage and what it logged, whole or not at all; ``False`` where there is nothing to do."""
    if stage_files.facts(donor, stage) is None or stage_files.facts(folder, stage) is not None:
        return False
    target = stage_files.stage_folder(folder, stage)
    aside = target.with_name(f".{stage}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(stage_files.stage_folder(donor, stage), aside)
    if (donor / METRICS).is_file():
        put_lines(folder, stage, lines_of(donor, stage))
    aside.replace(target)
    return True
