"""``robustcl evaluate --slots N``: an evaluation by N workers that a launcher brings to machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from robustcl.errors import ProcessLost, UsageError


def judge_by_workers(
    folder: Path, words: Sequence[str], launcher: str | None, slots: int | None, as_json: bool, devices: int = 1
) -> None:
    """Launch the workers of an evaluation, and print its results when they have ended.

    Args:
        folder: of the evaluation, where its results will lie.
        words: the arguments of ``robustcl`` that make a worker of it.
        launcher, slots: the flags.
        as_json: print the results for tools.
        devices: accelerators of a worker.

    Raises:
        UsageError: a launcher of other machines that nobody has told how many.
        ProcessLost: no worker has come to the end.
    """
    import torch

    from robustcl import hooks, report
    from robustcl.disk import read_json
    from robustcl.hooks import LauncherHooks
    from robustcl.launch.board import FOLDER, Card
    from robustcl.launch.carrying import carry_out
    from robustcl.launch.choice import choose_launcher
    from robustcl.launch.commands import make_command, show_command
    from robustcl.launch.standings import explain_failures
    from robustcl.tasks import Task
    from robustcl.terminal import printable

    chosen = choose_launcher(launcher, slots)
    asked = hooks.of(chosen, LauncherHooks)
    if not asked.slots and not asked.here:
        raise UsageError("--launcher: how many workers? say it with --slots")
    count = asked.slots or max(torch.cuda.device_count(), 1)
    names = [f"worker-{number}" for number in range(1, count + 1)]
    place = folder.absolute() / FOLDER
    tasks = [
        Task(name, make_command(words), None, place / f"{name}.log", Path.cwd(), devices=devices) for name in names
    ]
    cards = [Card(name, f"worker {number}", command=show_command(words)) for number, name in enumerate(names, 1)]
    last = carry_out(chosen, tasks, cards, folder)
    for sentence in explain_failures(folder):
        click.echo(sentence, err=True)
    if not any(event.state == "done" for event in last.values()):
        raise ProcessLost(f"no worker has judged to the end, and why stands above: what they have is kept in {folder}, "
                          "and the same command goes on from there")  # fmt: skip
    results = read_json(folder / "results.json", remedy="give the same command again")
    if as_json:
        click.echo(json.dumps(results))
        return
    click.echo(printable(report.table({str(results.get("name")): results})))
    click.echo(printable(f"run     {folder}"))


def find_folder(given: dict[str, object], run: str | None) -> Path:
    """Return where the results of an evaluation will lie.

    Raises:
        UsageError: there is no such run; or one on other data or under another threat, which has to name it.
    """
    if run is not None:
        from robustcl.run.folder import read_lock

        read_lock(Path(run))  # before anything is made beside it
        if given["dataset"] is None and given["eps"] is None:
            return Path(run)
    if given["out"] is None:
        flag = "--model" if run is None else "--eps" if given["eps"] is not None else "--dataset"
        raise UsageError(f"{flag} by several workers needs --out, the folder of its results")
    return Path(str(given["out"]))
