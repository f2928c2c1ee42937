"""Attacks in the dark: adversarial images made against one run, judged by the classifier of another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from robustcl.analysis.measure import kept
from robustcl.analysis.measure.numbers import Measures
from robustcl.analysis.measure.question import ImageQuestion, of_run
from robustcl.analysis.subject import open_run
from robustcl.composition.asked import check_attack
from robustcl.composition.parts import Parts
from robustcl.composition.plan import EvaluationPlan, RecipePlan
from robustcl.composition.subjects import RunSubject
from robustcl.errors import UsageError
from robustcl.evaluate import scaled
from robustcl.evaluate.subject import Subject
from robustcl.evaluate.unstopped import Unstopped, adversaries
from robustcl.study.grammar import Transferred
from robustcl.study.grid import Planned
from robustcl.study.measures import engine_of
from robustcl.study.reading import Reading, share
from robustcl.threat import Ball

Runs = Sequence[tuple[Planned, Path]]

_MEASURE = "transferred"
"""Under which name it is kept: a number of two classifiers, which no measure of one is."""


def check(column: Transferred, composition: RecipePlan, planned: Sequence[Planned], where: str) -> None:
    """Refuse an attack that test images cannot feed, and a source that looks at other images."""
    check_attack(column.attack, where)
    _ball(column, composition)
    for other in planned:
        if other.row.name == column.source and other.composition.recipe.data.use != composition.recipe.data.use:
            raise UsageError(f"{where}: the row {column.source!r} has another data set; give both the same")


def measure(
    column: Transferred, judged: tuple[EvaluationPlan, str], run: Planned, folder: Path, runs: Runs
) -> Reading | None:
    """Return the accuracy of a run on images that fool another; ``None`` for a row against itself, or without one."""
    source = next((other for other in runs if _is_source(other[0], column, run)), None)
    if source is None or source[0].digest == run.digest:
        return None
    ball = _ball(column, run.composition)
    question = ImageQuestion(attack=column.attack, ball=ball, times=column.times, first=judged[0].table.samples)
    theirs = source[0].composition.evaluations[0], source[0].composition.evaluations[0].table.route[0]
    attacked = of_run(source[1], source[0].composition, *theirs)
    table = question.table({**of_run(folder, run.composition, *judged), "source": attacked})
    entry = kept.find(folder, table)
    if entry is None or not isinstance(entry["values"].get(_MEASURE, {}).get("accuracy"), float):
        target = _open(run, folder, judged)
        index = question.index(target.test, target.seed)
        right = _judge(question, index, _open(*source, theirs), target)
        known = {"samples": len(index), "model": target.model}
        entry = kept.keep(folder, table, known, {_MEASURE: Measures({"accuracy": right / len(index)})}, {})
    n = entry["question"]["samples"]
    return share(round(entry["values"][_MEASURE]["accuracy"] * n), n)


def _is_source(other: Planned, column: Transferred, run: Planned) -> bool:
    return other.row.name == column.source and other.seed == run.seed and other.point == run.point


def _open(run: Planned, folder: Path, judged: tuple[EvaluationPlan, str]) -> RunSubject:
    with open_run(run.composition, folder, engine_of(folder), lambda sentence: None) as opened:
        return opened.subject(*judged)


def _judge(question: ImageQuestion, index: Tensor, source: Subject, target: Subject) -> int:
    """Return how many images the target gets right that are made against the source, to the end."""
    judge = Unstopped(source.classifier, question.ball, source.rng, source.judge.autocast)
    part = question.part(Parts())
    members = scaled.members(part.plugin, source.outputs, question.ball, question.times)
    kept_right = 0
    for rows in torch.split(index, target.asked.block):
        x, label = target.test.fetch(rows), target.test.labels[rows]
        moved = adversaries(judge, x, label, rows, part.name, members)
        kept_right += int((target.classifier.predict(moved) == label).sum())
    return kept_right


def _ball(column: Transferred, composition: RecipePlan) -> Ball:
    """Return the target's ball: a row's numbers are all of one threat."""
    return Ball.checked(composition.ball.norm, float(composition.ball.eps) * column.times)
