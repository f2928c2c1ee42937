"""Attacks in the dark: adversarial images made against one run, judged by the classifier of another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from robustcl.analysis.measure import kept
from robustcl.analysis.measure.question import ImageQuestion, identify_run
from robustcl.composition.asked import check_attack
from robustcl.composition.plan import EvaluationPlan, RecipePlan
from robustcl.errors import UsageError
from robustcl.measures.catalogue import TRANSFERRED, VALUES
from robustcl.study.grammar.columns import Transferred
from robustcl.study.numbers.questions import Entry, measure_run, open_subject
from robustcl.study.numbers.reading import Reading, is_answered, read_value
from robustcl.study.plan.planned import Planned
from robustcl.threat import Ball

Runs = Sequence[tuple[Planned, Path]]


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
    (other, place), mine = source, run.composition
    first = other.composition.evaluations[0]
    theirs = first, first.table.route[0]
    question = ImageQuestion(
        attack=column.attack, ball=_ball(column, mine), times=column.times, first=judged[0].table.samples
    )
    classifier = {**identify_run(folder, mine, *judged), "source": identify_run(place, other.composition, *theirs)}
    entry: Entry | None = kept.find(folder, question.table(classifier, mine.parts.owners))
    if entry is None or not is_answered(entry, TRANSFERRED):
        attacked = open_subject(place, other.composition, theirs)
        entry = measure_run(folder, mine, judged, question, [VALUES[TRANSFERRED][0]], attacked)
    return read_value(entry, TRANSFERRED)


def _is_source(other: Planned, column: Transferred, run: Planned) -> bool:
    return other.row.name == column.source and other.seed == run.seed and other.point == run.point


def _ball(column: Transferred, composition: RecipePlan) -> Ball:
    """Return the target's ball: a row's numbers are all of one threat."""
    return Ball.checked(composition.ball.norm, float(composition.ball.eps) * column.times)
