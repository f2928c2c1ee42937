"""A study whose runs a launcher brings to machines: its tasks, its page while they go, and what becomes of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from robustcl import hooks
from robustcl.disk import make_folder
from robustcl.errors import RobustclError, UsageError
from robustcl.hooks import LauncherHooks
from robustcl.launch.board import FOLDER
from robustcl.launch.carrying import carry_out
from robustcl.launch.standings import explain_failures, last_lines
from robustcl.protocols import Launcher
from robustcl.run.occupation import only_one
from robustcl.study.composed import Composed
from robustcl.study.conclusion import conclude
from robustcl.study.finished import FinishedStudy
from robustcl.study.grammar.columns import Moved, Transferred
from robustcl.study.grammar.figures import Bars, Epochs, Lines, Scatter, SilhouetteFigure, Sweeps
from robustcl.study.runs.execution import Machine, Say, find_unfinished, preflight_all
from robustcl.study.runs.launched import plan_tasks
from robustcl.tasks import Event

EVERY = 60.0
"""Seconds at least between two pages of a study that goes on."""


def launch(
    composed: Composed, folder: Path, launcher: Launcher, command: Sequence[str], machine: Machine, say: Say
) -> FinishedStudy:
    """Have every run of a study done that is not finished, each as a task, and conclude as ``robustcl.study.api.run``.

    A run that cannot be done is left out, and a note says why. ``command``: the arguments of ``robustcl`` that run the
    study.

    Raises:
        UsageError: a study that one process has to run, or, as ``run``, data or a directory that do not fit.
        Interrupted: Ctrl-C or a signal.
    """
    if composed.timings is not None:
        raise UsageError('--launcher: equal = "seconds" are those of one machine that does nothing else; leave '
                         '--launcher and --slots out, or take equal = "passes"')  # fmt: skip
    if not composed.planned:
        raise UsageError("--launcher: models that others have trained are judged in one process; leave it out")
    here = hooks.of(launcher, LauncherHooks).here
    preflight_all(composed.planned, machine if here else Machine("cpu", machine.precision), folder)
    page = _Page(composed, folder, say)
    with only_one(make_folder(folder)):  # two that launch the same would each take the other's tasks for failures
        marks = [*(folder / FOLDER).glob("*.done")]  # listed before the runs are looked at: a job may finish meanwhile
        devices = 0 if machine.device == "cpu" else 1
        plan = plan_tasks(composed.planned, folder, command, devices, machine.place)
        asked = {task.outcome for task in plan.tasks}
        for stale in (mark for mark in marks if mark.absolute() in asked):
            stale.unlink()  # its run is not finished any more, or is asked for more
        last = carry_out(launcher, plan.tasks, plan.cards, folder, page.hear)
    for sentence in explain_failures(folder):
        say(sentence)
    sent = {task.name for task in plan.tasks}
    lost = {run.folder: _why(last.get(run.folder), folder) for run in composed.planned
            if run.folder in sent and (run.folder not in last or last[run.folder].state != "done")}  # fmt: skip
    return conclude(composed, folder, lost, {})


def _why(event: Event | None, folder: Path) -> str:
    if event is None:
        return "the launcher has not said what became of it"
    said = last_lines(folder / FOLDER / f"{event.task}.log", 1) if event.state == "failed" else []
    return "; ".join([event.why, *said])


class _Page:
    """Writes the study's page while its runs go, where that measures nothing and takes no time from them."""

    def __init__(self, composed: Composed, folder: Path, say: Say) -> None:
        self.composed, self.folder, self.say = composed, folder, say
        study = composed.study
        self.plain = not any(isinstance(column, Moved | Transferred) for column in study.column) and all(
            isinstance(figure, Bars | Lines | Epochs | Sweeps | Scatter | SilhouetteFigure) for figure in study.figure
        )
        self._last = time.monotonic()

    def hear(self, event: Event) -> None:
        """Write the page where a run is done and the last one is old."""
        runs = {run.folder for run in self.composed.planned}
        if event.state != "done" or event.task not in runs or not event.attempt or not self.plain:
            return
        if time.monotonic() - self._last >= EVERY:
            self._last = time.monotonic()
            try:
                left = find_unfinished(self.composed.planned, self.folder)
                self.say(f"so far: {conclude(self.composed, self.folder, left, {}).path / 'study.html'}")
            except RobustclError as error:  # the runs matter more than their page: nothing to show yet, or a full disk
                self.say(f"no page so far: {error}")
