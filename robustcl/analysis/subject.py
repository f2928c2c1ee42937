"""What is asked about, opened in one place: a finished run, or anybody's model; each gives subjects of one kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robustcl.composition import exchange
from robustcl.composition.parts import Parts
from robustcl.composition.plan import EvaluationPlan, RecipePlan
from robustcl.data.held import open_source
from robustcl.data.promises import class_names
from robustcl.data.subset import Images
from robustcl.evaluate import shards, soundness
from robustcl.evaluate.classifier import of_model
from robustcl.evaluate.journal import Journal, Key, Outcome
from robustcl.evaluate.judge import Judge, Members, check_item
from robustcl.evaluate.likeness import digest_model
from robustcl.evaluate.question import Question
from robustcl.evaluate.subject import Subject
from robustcl.evaluate.work import WHOLE, Work
from robustcl.nn import outside
from robustcl.protocols import DatasetPlugin, Source
from robustcl.recipe import AttackTable, Evaluate, Use
from robustcl.rng import Rng
from robustcl.run import audited, contents, subjects
from robustcl.run.evaluation import Answers, measure_run
from robustcl.run.folder import only_one
from robustcl.run.splits import keep_looked_through
from robustcl.run.stages import Stages
from robustcl.run.subjects import RunSubject
from robustcl.threat import Ball, ball_of
from robustcl.train.engine import Engine
from robustcl.train.log import Watcher, watch_nothing
from robustcl.train.plan import Part


@dataclass(frozen=True)
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
        return audited.worst_known(self._journal, questions)

    @cached_property
    def _journal(self) -> Journal:
        return shards.journal(self.home, self.work.shard)

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
    with only_one(folder, work.occupies):
        splits = contents.open_again(plan, folder, engine.device, test=test)
        yield OpenRun(Stages(plan, folder, engine, watcher, say, splits), home or folder, work)


PROTOCOL = "as-is"
"""What the column protocol says of a model that is judged as it came."""


@dataclass(frozen=True, slots=True)
class OutsideModel:
    """Anybody's model, as the command line names it, and in which ball; ``weights`` is a safetensors file."""

    model: str
    dataset: str
    weights: Path | None = None
    data_dir: str | None = None
    norm: str = "Linf"
    eps: str = "8/255"
    seed: int = 0

    def ball(self) -> Ball:
        """Return the threat; raises ``UsageError`` for what is none."""
        return ball_of(self.norm, self.eps, "--eps")

    def data(self) -> Use:
        """Return the data set's table; raises ``UsageError`` where its files are named twice."""
        return Use(use=self.dataset, **exchange.files(self.dataset, self.data_dir))


@dataclass(frozen=True, slots=True, eq=False)
class OpenModel:
    """A model as its owner built it, and the test images of ``source``, which go by the name ``data``."""

    model: nn.Module
    data: str
    dataset: DatasetPlugin
    source: Source
    images: Images
    engine: Engine

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the data set left out, in sentences."""
        return tuple(getattr(self.source, "remarks", ()))

    def subject(
        self,
        ball: Ball,
        seed: int,
        attacks: Sequence[tuple[AttackTable, Part, Mapping[str, Any]]] = (),
        *,
        outputs: int | None = None,
        samples: int | None = None,
        block: int = 250,
        audit: int | None = None,
    ) -> Subject:
        """Return the model, to be judged as it came.

        Args:
            ball: the threat. seed: of the attacks' stream.
            attacks: the table of each, the attack, and all of its options.
            outputs: the number of logits where that is known; left out, the model is asked whether its verdicts stay.
            samples, block, audit: as in ``[[evaluate]]``.

        Raises:
            UsageError: outputs that are no logits, or images that an attack cannot take.
            DataError: logits that are not finite, or labels that the model has no output for.
        """
        classifier, images = of_model(self.model), self.images
        if outputs is None:
            first = torch.arange(min(images.samples, block), device=images.device)
            outputs = soundness.check(classifier, images.fetch(first), images.labels)
        spec = {"protocol": PROTOCOL, "model": digest_model(self.model), "data": self.data}
        asked = [(part.name, options) for _, part, options in attacks]
        tables = [table for table, _, _ in attacks]
        attacked_by = {"seed": seed, "precision": self.engine.precision}
        subject = Subject(
            judge=Judge(classifier, ball, Rng(seed, "evaluate", PROTOCOL), self.engine.autocast),
            asked=Evaluate.model_construct(use=PROTOCOL, attacks=tables, samples=samples, block=block, audit=audit),
            attacks=tuple(part for _, part, _ in attacks),
            question=Question(PROTOCOL, "", spec, {"test": images}, asked, attacked_by),
            images={"test": images}, outputs=outputs, data=self.data, dataset=self.dataset, seed=seed,
        )  # fmt: skip
        for _, members in subject.questions():
            check_item(members, tuple(images.item))
        return subject


def open_model(
    spec: str,
    weights: Path | None,
    dataset: Use,
    engine: Engine,
    parts: Parts | None = None,
    say: outside.Say = lambda sentence: None,
) -> OpenModel:
    """Open a model that somebody else has trained, and the test images of a data set, which come first.

    Args:
        spec: "module:function" or "torchvision:NAME". weights: a safetensors file.
        dataset: its name, with options. parts: remembers who brought it.
        engine: where it computes.
        say: hears how images go in.

    Raises:
        UsageError: a model or data set that is not there or does not fit.
        WeightsError: weights that are not safetensors, or of another model.
    """
    plugin: DatasetPlugin = (parts or Parts()).make("dataset", dataset, "--dataset").plugin
    source = open_source(plugin, "test")
    images = keep_looked_through(source, engine.device)
    model = place_model(spec, weights, len(class_names(plugin)), engine, say=say)
    return OpenModel(model, dataset.use, plugin, source, images, engine)


def place_model(
    spec: str,
    weights: Path | None,
    classes: int,
    engine: Engine,
    flags: tuple[str, str] = outside.FLAGS,
    say: outside.Say = lambda sentence: None,
) -> nn.Module:
    """Return a model on the engine's device; errors as ``open_model``, naming the ``flags``."""
    model = outside.build(spec, weights, classes, flags, say)
    engine.place(model, ours=False)
    return model
