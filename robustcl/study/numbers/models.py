"""Rows of a study that are models which somebody else has trained: opened, checked, and measured as a run is."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from robustcl.analysis.measure.question import ImageQuestion
from robustcl.analysis.measure.run import sample_of, take
from robustcl.analysis.subject import PROTOCOL, open_model
from robustcl.composition.asked import check_attack
from robustcl.disk import make_folder
from robustcl.errors import NeedNotMet, RobustclError, UsageError, near
from robustcl.evaluate.extras.corruptions import measure_corruptions
from robustcl.evaluate.journal import Journal
from robustcl.evaluate.measure import Measurement
from robustcl.evaluate.subject import Subject
from robustcl.evaluate.work import WHOLE
from robustcl.nn import outside
from robustcl.protocols import Need
from robustcl.recipe import Corruptions, ThreatTable, Use, override
from robustcl.study.grammar.columns import AnyColumn, Corrupted, Derived, Perturbed
from robustcl.study.grammar.figures import Bars, Lines, Scatter, Sweeps
from robustcl.study.grammar.study import Study
from robustcl.study.numbers import corrupted, questions
from robustcl.study.numbers.reading import Reading, share
from robustcl.study.plan.setting import ModelSource
from robustcl.threat import Ball, ball_of
from robustcl.train.engine import Engine

_BLOCK = 250
"""Images of a model that are attacked together."""


@dataclass(frozen=True, slots=True)
class ModelBench:
    """Where models are judged: on which test images, how many of them, in which ball, and by what."""

    dataset: Use
    samples: int | None
    ball: Ball
    engine: Engine
    corruptions: Corruptions | None = None

    def opened(self, model: ModelSource, seed: int, say: outside.Say = lambda sentence: None) -> Subject:
        """Return a model on its test images; ``say`` hears how images go in.

        Raises:
            UsageError: a model or data set that is not there, or outputs that are no logits.
            DataError: logits that are not finite, or labels that the model has no output for.
            WeightsError: weights that are not safetensors, or of another model.
        """
        found = open_model(model.spec, model.weights, self.dataset, self.engine, say=say)
        return found.subject(self.ball, seed, samples=self.samples, block=_BLOCK)


def threat(study: Study, overrides: Sequence[str]) -> Ball:
    """Return the ball of columns without one of their own: the recipes' default, as the study or ``--set`` changes it.

    Raises:
        UsageError: an override of something that only a recipe has, or no such ball.
    """
    tables: dict[str, Any] = {"threat": ThreatTable().model_dump()}
    for path in ("threat.norm", "threat.eps"):
        if path in study.set:
            override.put(tables, path, study.set[path], "set")
    for assignment in overrides:
        if assignment.partition("=")[0].strip() not in ("threat.norm", "threat.eps"):
            raise UsageError(
                f"--set {assignment}: a model has no recipe to change; set threat.norm or threat.eps alone"
            )
        override.apply(tables, assignment)
    return ball_of(tables["threat"]["norm"], tables["threat"]["eps"], "threat")


def check(study: Study, models: Mapping[str, ModelSource], dataset: str | None) -> None:
    """Refuse a model of no row, and a column or figure that only a run can have.

    Raises:
        UsageError: which model, column or figure; or no data set to judge on.
    """
    where, rows = f"the study {study.name}", {row.name: row for row in study.row}
    for name in models:
        if name not in rows:
            raise UsageError(f"--model {name}: {where} has no row {name!r}{near(name, rows)}; it has {', '.join(rows)}")
        for column in study.columns_of(rows[name]):
            _check_column(column, study, f"{where}, row {name!r}, column {column.name!r}")
    if study.axis or study.other:
        raise UsageError(f"--model: {where} changes what is trained, which a trained model does not take; leave it out")
    for figure in study.figure:
        if not isinstance(figure, Bars | Lines | Scatter | Sweeps):
            raise UsageError(f"--model: {where} has the figure {figure.kind}, which looks into runs; leave it out")
    if dataset is None:
        raise UsageError("--model needs --dataset as well: the data set that the models were made for")


def preflight(
    bench: ModelBench, models: Mapping[str, ModelSource], say: outside.Say = lambda sentence: None
) -> dict[str, str]:
    """Open each model once before any is measured; return what tells each from others, by row."""
    found = {}
    for row, model in models.items():
        try:
            found[row] = bench.opened(model, 0, say).model
        except RobustclError as error:
            raise type(error)(f"row {row!r}: {error}") from error.__cause__
    return found


def measure(
    columns: Sequence[AnyColumn], bench: ModelBench, model: ModelSource, digest: str, seed: int, folder: Path
) -> list[Reading | None]:
    """Return the columns' numbers of a model; what ``folder`` holds already is not measured again."""
    make_folder(folder)
    whose = {"protocol": PROTOCOL, "route": "", "seed": seed, "weights": digest, "data": bench.dataset.model_dump(),
             "precision": bench.engine.precision}  # fmt: skip
    opened = functools.cache(lambda: bench.opened(model, seed))

    def answered(question: ImageQuestion, names: Sequence[str]) -> questions.Entry:
        subject = opened()
        index = question.index(subject.test, seed)
        return take(folder, question.table(whose), names, sample_of(subject, question, subject.test, index))

    told = functools.cache(lambda: _judge_corrupted(opened(), bench, seed, folder))
    readings: list[Reading | None] = []
    for column in columns:
        if isinstance(column, Derived):
            readings.append(None)
            continue
        if isinstance(column, Corrupted):
            results, clean = told()
            readings.append(corrupted.read(column, (PROTOCOL, ""), results, clean, None))
            continue
        assert isinstance(column, Perturbed), "checked before"
        question = questions.image_question(column, bench.ball, bench.samples)
        readings.append(
            questions.ask(column, question, columns, folder, whose, None, functools.partial(answered, question))
        )
    return readings


def corruptions_of(study: Study) -> Corruptions | None:
    """Return the corruptions that a study's ``set`` has its runs judged on, and so its models."""
    for path, value in study.set.items():
        first, *_, last = path.split(".")
        if (first, last) == ("evaluate", "corruptions"):
            return Corruptions.model_validate({} if value is True else value)
    return None


def _judge_corrupted(
    subject: Subject, bench: ModelBench, seed: int, folder: Path
) -> tuple[dict[str, Any], Reading | None]:
    """Return a model's accuracies on corrupted images, as results.json has them, and its clean one on as many."""
    asking = replace(subject, asked=subject.asked.model_copy(update={"corruptions": bench.corruptions}))
    work = replace(WHOLE, block=_BLOCK)
    measurement = Measurement(Journal(folder / "journal.jsonl"), seed, work, lambda sentence: None)
    key = subject.question.clean("test")
    outcomes = measurement.outcomes(subject.judge, subject.test, key, (), bench.samples)
    right = sum(outcome.correct for outcome in outcomes)
    return {"corruptions": measure_corruptions(asking, measurement)}, share(right, len(outcomes))


def _check_column(column: AnyColumn, study: Study, where: str) -> None:
    if isinstance(column, Derived):
        return
    if isinstance(column, Corrupted):
        corrupted.check_table(column, corruptions_of(study), where)
        if isinstance(column.baseline, str):
            raise UsageError(
                f"{where}: a model's errors are divided by given ones; write baseline as a table of errors"
            )
        return
    if not isinstance(column, Perturbed) or column.targets is not None:
        raise UsageError(
            f'{where}: of a model there are only columns with use = "perturbed" and without clusters, and with use = '
            '"corrupted"; leave --model out'
        )
    part = check_attack(column.attack, where)
    if Need.FEATURES in part.needs:
        raise NeedNotMet(f"{where}: {part.name} reads features, and a model from outside has logits alone")
    if column.threat is not None:
        ball_of(column.threat.norm, column.threat.eps, f"{where}.threat")
