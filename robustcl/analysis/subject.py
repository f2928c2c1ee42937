"""A finished run, opened once: the classifiers that it was judged by, and what every question about them needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from robustcl.composition import audited, contents, subjects
from robustcl.composition.evaluation import Answers, measure_run
from robustcl.composition.folder import only_one
from robustcl.composition.plan import EvaluationPlan, RecipePlan
from robustcl.composition.stages import Stages
from robustcl.composition.subjects import RunSubject
from robustcl.evaluate import shards
from robustcl.evaluate.journal import Key, Outcome
from robustcl.evaluate.judge import Members
from robustcl.evaluate.work import WHOLE, Work
from robustcl.train.engine import Engine
from robustcl.train.log import Watcher, watch_nothing


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A finished run that no other process is at work on; its classifiers are prepared as they are asked for.

    home: where the outcomes lie that are known. work: which part of an evaluation is done here.
    """

    stages: Stages
    home: Path
    work: Work = WHOLE

    @property
    def plan(self) -> RecipePlan:
        """What is asked of the run."""
        return self.stages.composition

    def subject(self, evaluation: EvaluationPlan, route: str | None = None) -> RunSubject:
        """Return the classifier of an evaluation on a route, by default its first; trained where nobody has so far."""
        return subjects.prepare(self.stages, evaluation, route or evaluation.table.route[0])

    def subjects(self) -> list[RunSubject]:
        """Return those of every evaluation and route of the plan."""
        return [self.subject(evaluation, route) for evaluation in self.plan.evaluations
                for route in evaluation.table.route]  # fmt: skip

    def known(self, questions: Sequence[tuple[Key, Members]]) -> list[Outcome]:
        """Return the worst that is known of each image under some questions."""
        return audited.worst_known(shards.journal(self.home, self.work.shard), questions)

    def measure(self) -> Answers:
        """Measure all that the plan's evaluations ask, into the home."""
        return measure_run(self.stages, self.work, self.home)


@contextmanager
def open_run(
    plan: RecipePlan,
    folder: Path,
    engine: Engine,
    say: Callable[[str], None],
    *,
    home: Path | None = None,
    test: bool = True,
    work: Work = WHOLE,
    watcher: Watcher = watch_nothing,
) -> Iterator[OpenRun]:
    """Open a finished run for one process, with the data that it began with.

    Args:
        plan: what is asked of the run: its recipe, with the evaluations that are meant.
        folder: the run's. home: where the outcomes lie that are known, by default there.
        engine: where it computes.
        say: hears what is trained first, and each number. watcher: hears how far it is.
        test: whether the test images are opened.
        work: which part of an evaluation is done here.

    Raises:
        UsageError: another process is at work there.
        DataError: the data are no longer those of the run.
    """
    with only_one(folder, work.shard):
        splits = contents.open_again(plan, folder, engine.device, test=test)
        yield OpenRun(Stages(plan, folder, engine, watcher, say, splits), home or folder, work)
