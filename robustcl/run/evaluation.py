"""An evaluation: every extra that is asked for, of every classifier, and the audit behind its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from robustcl import ranks
from robustcl.evaluate import shards
from robustcl.evaluate.extras import EXTRAS
from robustcl.evaluate.extras.representation import REPRESENTATION
from robustcl.evaluate.measure import Measurement
from robustcl.evaluate.subject import Subject
from robustcl.evaluate.work import WHOLE, Work
from robustcl.run import audited, subjects
from robustcl.run.stages import Stages

_ALL = (*EXTRAS, audited.AUDIT, REPRESENTATION)
"""In the order in which they are measured: a number and its audit before pictures, should the time be up."""

LISTS = tuple(dict.fromkeys(extra.part for extra in _ALL if extra.part))
"""The lists of results.json that hold answers."""

Answers = dict[str, list[Mapping[str, Any]]]
"""Name of a list -> its entries."""


def measure_run(run: Stages, work: Work, folder: Path | None = None) -> Answers:
    """Measure every protocol and route of a run; what the journal knows is not measured again.

    Args:
        run: with its finished stages.
        work: this process's part. The share of one of several processes goes into a journal of its own, which
            ``robustcl merge`` joins with the others'; representations and images are kept by a whole evaluation alone.
        folder: takes journal, pictures and audits; it is the run's own where it is left out.
    """
    found: Answers = {name: [] for name in LISTS}
    folder = folder or run.folder
    told = replace(work, told=lambda what, done, total: run.watcher(what, done, total, {}))
    journal = shards.journal(folder, work.shard) if ranks.rank() == 0 else None
    for plan in run.composition.evaluations:
        for route in plan.table.route:
            subject = subjects.prepare(run, plan, route)
            if journal is not None:
                subject = replace(subject, about={**subject.about, **subjects.tell(run, subject)})
                kept = folder if work.shard == WHOLE.shard else None
                here = replace(told, block=plan.table.block)
                answers = measure(subject, Measurement(journal, subject.seed, here, run.say, kept))
                found = {name: [*found[name], *answers[name]] for name in LISTS}
            ranks.wait()
    return found


def measure(subject: Subject, measurement: Measurement) -> Answers:
    """Measure all that is asked of a subject."""
    found: Answers = {name: [] for name in LISTS}
    for extra in _ALL:
        answers = extra.measure(subject, measurement) if extra.is_asked(subject.asked) else ()
        if extra.part:
            found[extra.part] += answers
    return found
