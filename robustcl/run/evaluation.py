"""An evaluation: every extra that is asked for, of every classifier, and the audit behind its numbers."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from robustcl import ranks
from robustcl.composition.plan import EvaluationPlan
from robustcl.disk import leave_token, sees
from robustcl.errors import UsageError
from robustcl.evaluate import shards, workers
from robustcl.evaluate.extras import EXTRAS
from robustcl.evaluate.extras.representation import REPRESENTATION
from robustcl.evaluate.journal import Journal
from robustcl.evaluate.measure import Measurement
from robustcl.evaluate.subject import Subject
from robustcl.evaluate.work import Work
from robustcl.run import audited, subjects
from robustcl.run.occupation import only_one
from robustcl.run.stages import Say, Stages
from robustcl.run.subjects import RunSubject

_ALL = (*EXTRAS, audited.AUDIT, REPRESENTATION)
"""In the order in which they are measured: a number and its audit before pictures, should the time be up."""

LISTS = tuple(dict.fromkeys(extra.part for extra in _ALL if extra.part))
"""The lists of results.json that hold answers."""

Answers = dict[str, list[Mapping[str, Any]]]
"""Name of a list -> its entries."""


def measure_run(run: Stages, work: Work, folder: Path | None = None) -> Answers:
    """Measure every protocol and route of a run; what the journal knows is not measured again.

    Several ranks judge as workers first, block by block; what they know is the first one's, who measures then.

    Args:
        run: with its finished stages.
        work: this process's part. A share of one of several processes, or a worker, goes into a journal of its own,
            which is joined with the others'; representations and images are kept by a whole evaluation alone.
        folder: takes journal, pictures and audits; it is the run's own where it is left out.

    Raises:
        UsageError: the ranks do not see one folder, or another process is training a classifier of the run.
    """
    found: Answers = {name: [] for name in LISTS}
    folder = folder or run.folder
    kept = work.witnesses and run.composition.recipe.run.witnesses is not False
    told = replace(work, told=lambda what, done, total: run.watcher(what, done, total, {}), witnesses=kept)
    together = ranks.world() > 1 and work.whole and work.deadline is None and bool(run.composition.evaluations)
    if together:
        _check_shared(run, folder)
    journal = shards.journal(folder, work.shard, worker=work.worker) if ranks.rank() == 0 else None
    own = shards.journal(folder, work.shard, worker=True) if together else None
    for plan in run.composition.evaluations:
        for route in plan.table.route:
            subject, here = _prepare(run, plan, route, work), replace(told, block=plan.table.block)
            if own is not None:
                measure(subject, measurement(own, subject.seed, replace(here, worker=True), run.say, folder))
                ranks.wait()
            if journal is not None:
                subject = replace(subject, about={**subject.about, **subjects.tell(run, subject)})
                answers = measure(subject, measurement(journal, subject.seed, here, run.say, folder))
                found = {name: [*found[name], *answers[name]] for name in LISTS}
            ranks.wait()
    return found


def measurement(journal: Journal, seed: int, work: Work, say: Say, folder: Path) -> Measurement:
    """Return what the numbers of an evaluation share, for a whole one, a share, or a worker, who tells no numbers."""
    if work.worker:
        return Measurement(journal, seed, work, lambda sentence: None, remark=say)
    return Measurement(journal, seed, work, say, folder if work.whole else None)


def _prepare(run: Stages, plan: EvaluationPlan, route: str, work: Work) -> RunSubject:
    """Return a classifier; of several workers one trains it, and the others wait."""
    if work.worker and subjects.lacks(run, plan, route):
        with workers.leases(run.folder) as held:
            while subjects.lacks(run, plan, route):
                if workers.wait_for_turn(held, workers.ALONE):
                    with only_one(run.folder):  # and nobody who is no worker
                        return subjects.prepare(run, plan, route)
    return subjects.prepare(run, plan, route)


def _check_shared(run: Stages, folder: Path) -> None:
    """Refuse ranks that do not see what the first one writes: they would wait for each other's blocks."""
    first = ranks.rank() == 0
    token = ranks.from_first(secrets.token_hex(8) if first else None)
    path = folder / workers.FOLDER / token
    with leave_token(path) if first else contextlib.nullcontext():
        seen = int(ranks.total(torch.tensor(int(sees(path)), device=run.engine.device)))
    if seen < ranks.world():
        raise UsageError(
            f"{folder} is seen by {seen} of the {ranks.world()} processes alone: put the run on a disk that all nodes "
            "share, or judge it with one process, robustcl evaluate"
        )


def measure(subject: Subject, measurement: Measurement) -> Answers:
    """Measure all that is asked of a subject."""
    found: Answers = {name: [] for name in LISTS}
    for extra in _ALL:
        answers = extra.measure(subject, measurement) if extra.is_asked(subject.asked) else ()
        if extra.part:
            found[extra.part] += answers
    return found
