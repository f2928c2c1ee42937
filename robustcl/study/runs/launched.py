"""The runs of a study as tasks: a command that does each alone, after those that train what it shares with others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from robustcl.composition.lock import deciding, lock
from robustcl.launch.board import FOLDER, Card
from robustcl.launch.commands import make_command, show_command
from robustcl.study.plan.planned import Planned
from robustcl.study.runs.cards import RUNS, describe_run
from robustcl.study.runs.execution import is_finished
from robustcl.tasks import SharedFolder, Task
from robustcl.train import stage_files


@dataclass(frozen=True, slots=True)
class PlannedTasks:
    """What is to be done, and what stands on the board: the same, and the runs that are finished."""

    tasks: tuple[Task, ...]
    cards: tuple[Card, ...]


def plan_tasks(
    planned: Sequence[Planned], out: Path, command: Sequence[str], devices: int = 1, store: Path | None = None
) -> PlannedTasks:
    """Return a task for each run that is not finished, and one for each stage that several of them share.

    ``command``: the arguments of ``robustcl`` that run this study, to which ``--only`` and ``--until`` are added.
    ``devices``: accelerators of a task. ``store``: that of finished stages, where one is used.

    Raises:
        UsageError: a folder of the study holds another run.
    """
    unique = list({run.folder: run for run in planned}.values())
    finished = {
        run.folder for run in unique if all(is_finished(one, out) for one in planned if one.folder == run.folder)
    }
    going = [run for run in unique if run.folder not in finished]
    shared = _share(going)
    place = (SharedFolder(store, _REMEDY),) if store is not None else ()
    tasks: list[Task] = []
    cards = [describe_run(run) for run in unique if run.folder in finished]
    for run in going:
        after: tuple[str, ...] = ()
        for stage, owner in shared[run.folder]:
            name = f"{owner}.{stage}"
            done = stage_files.stage_folder(out / RUNS / owner, stage) / "finished.json"
            if owner == run.folder and not done.is_file():
                words = [*command, "--only", owner, "--until", stage]
                whole = describe_run(run, after, show_command(words))
                stages = {one: epochs for one, epochs in whole.stages.items() if one == stage}
                cards.append(replace(whole, name=name, title=f"{whole.title}: {stage}", stages=stages))
                tasks.append(_make(name, words, after, done, out, devices, place))
            after = (name,) if any(task.name == name for task in tasks) else after
        words = [*command, "--only", run.folder]
        cards.append(describe_run(run, after, show_command(words)))
        tasks.append(_make(run.folder, words, after, out / FOLDER / f"{run.folder}.done", out, devices, place))
    return PlannedTasks(tuple(tasks), tuple(cards))


_REMEDY = "name a store that all machines share by --store DIR, or --store none"


def _make(
    name: str,
    words: Sequence[str],
    after: tuple[str, ...],
    outcome: Path,
    out: Path,
    devices: int,
    shared: tuple[SharedFolder, ...],
) -> Task:
    log = out.absolute() / FOLDER / f"{name}.log"
    return Task(name, make_command(words), outcome.absolute(), log, Path.cwd(), after, devices, shared)


def _share(going: Sequence[Planned]) -> dict[str, list[tuple[str, str]]]:
    """Return, by run, its first stages that others train as well, each with the run in whose folder it is trained."""
    locks = {run.folder: lock(run.composition) for run in going}
    keys = {
        folder: [_key(locked, number) for number in range(len(locked["stage"]))] for folder, locked in locks.items()
    }
    having: dict[str, list[str]] = {}
    for folder, mine in keys.items():
        for key in mine:
            having.setdefault(key, []).append(folder)
    return {
        folder: [
            (str(locks[folder]["stage"][number]["name"]), having[key][0])
            for number, key in enumerate(mine)
            if len(having[key]) > 1
        ]
        for folder, mine in keys.items()
    }


def _key(locked: Mapping[str, Any], number: int) -> str:
    return json.dumps(deciding(locked, number), sort_keys=True, default=str)
