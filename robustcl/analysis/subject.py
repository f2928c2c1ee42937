"""A finished run, opened once: the classifiers that it was judged by, and what every question about them needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustcl.composition import audited, contents
from robustcl.composition.data import Splits
from robustcl.composition.evaluation import Evaluation
from robustcl.composition.folder import only_one
from robustcl.composition.plan import EvaluationPlan, RecipePlan
from robustcl.composition.stages import Stages
from robustcl.data.subset import Images
from robustcl.evaluate.classifier import Classifier, of_encoder
from robustcl.evaluate.journal import Key, Outcome, model_hash
from robustcl.evaluate.judge import Members
from robustcl.evaluate.work import WHOLE
from robustcl.nn.encoder import Encoder
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.train.engine import Engine
from robustcl.train.log import watch_nothing


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """One classifier of a finished run, as its evaluation judged it: on one route, in the run's ball.

    plan: the run's, with the ball that is meant. evaluation: by which protocol, of which encoder. classifier: what the
    protocol has made of that encoder. model: the hash of its weights.
    """

    folder: Path
    plan: RecipePlan
    evaluation: EvaluationPlan
    route: str
    encoder: Encoder
    classifier: Classifier
    model: str
    splits: Splits
    engine: Engine

    @property
    def protocol(self) -> str:
        """The protocol's name."""
        return self.evaluation.table.use

    @property
    def name(self) -> str:
        """Protocol and route, in words."""
        return f"{self.protocol} {self.route}"

    @property
    def dataset(self) -> str:
        """The name of the data set."""
        return self.plan.recipe.data.use

    @property
    def classes(self) -> int:
        """How many classes the classifier tells apart."""
        return self.encoder.classes

    @property
    def ball(self) -> Ball:
        """The threat."""
        return self.plan.ball

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.plan.recipe.seed

    @property
    def rng(self) -> Rng:
        """The evaluation's own stream: an attack does to each image what it did there."""
        return Rng(self.seed, "evaluate", self.protocol, self.route)

    @property
    def test(self) -> Images:
        """The test images."""
        assert self.splits.test is not None, "opened without its test images"
        return self.splits.test

    @property
    def identity(self) -> Mapping[str, Any]:
        """What the classifier and its randomness are known by."""
        return {"model": self.model, "protocol": self.protocol, "route": self.route, "seed": self.seed}


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A finished run that no other process is at work on; its classifiers are prepared as they are asked for."""

    plan: RecipePlan
    folder: Path
    splits: Splits
    _evaluation: Evaluation

    def subject(self, evaluation: EvaluationPlan, route: str | None = None) -> Subject:
        """Return the classifier of an evaluation on a route, by default its first; trained where nobody has so far."""
        route = route or evaluation.table.route[0]
        encoder, engine = self._evaluation.prepared(evaluation, route), self._evaluation.run.engine
        model = model_hash(encoder.state_dict())
        return Subject(
            self.folder, self.plan, evaluation, route, encoder, of_encoder(encoder, route), model, self.splits, engine
        )

    def subjects(self) -> list[Subject]:
        """Return those of every evaluation and route of the plan."""
        return [self.subject(evaluation, route) for evaluation in self.plan.evaluations
                for route in evaluation.table.route]  # fmt: skip

    def questions(self, subject: Subject) -> list[tuple[Key, Members]]:
        """Return what the plan asks of a subject's test images: the key of each attack, and its members."""
        question = self._evaluation.question(subject.evaluation, subject.route, subject.encoder, subject.test)
        return self._evaluation.questions(subject.evaluation, question, subject.ball)

    def known(self, questions: Sequence[tuple[Key, Members]]) -> list[Outcome]:
        """Return the worst that is known of each image under some questions."""
        assert self._evaluation.journal is not None  # one process, so this is the first rank
        return audited.worst_known(self._evaluation.journal, questions)


@contextmanager
def open_run(
    plan: RecipePlan,
    folder: Path,
    engine: Engine,
    say: Callable[[str], None],
    *,
    home: Path | None = None,
    test: bool = True,
) -> Iterator[OpenRun]:
    """Open a finished run for one process, with the data that it began with.

    Args:
        plan: what is asked of the run: its recipe, with the evaluations that are meant.
        folder: the run's. home: where the outcomes lie that are known, by default there.
        engine: where it computes.
        say: hears what is trained first.
        test: whether the test images are opened.

    Raises:
        UsageError: another process is at work there.
        DataError: the data are no longer those of the run.
    """
    with only_one(folder):
        splits = contents.open_again(plan, folder, engine.device, test=test)
        stages = Stages(plan, folder, engine, watch_nothing, say, splits)
        yield OpenRun(plan, folder, splits, Evaluation(stages, WHOLE, home))
