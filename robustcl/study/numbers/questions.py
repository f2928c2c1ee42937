"""The columns of a study that are measured of a finished run: which question each one is, and what answers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from robustcl.analysis.measure import kept
from robustcl.analysis.measure.clusters import plan_targets
from robustcl.analysis.measure.question import ImageQuestion, identify_run
from robustcl.analysis.measure.run import answer
from robustcl.analysis.subject import open_run
from robustcl.composition import needs
from robustcl.composition.asked import check_attack
from robustcl.composition.plan import EvaluationPlan, RecipePlan
from robustcl.errors import NeedNotMet
from robustcl.evaluate import scaled
from robustcl.measures.catalogue import VALUES
from robustcl.protocols import Need
from robustcl.recipe import Section
from robustcl.registry.owners import Owners
from robustcl.run.folder import read_lock
from robustcl.run.subjects import RunSubject
from robustcl.study.grammar.columns import Moved, Perturbed, Representation
from robustcl.study.numbers.reading import Reading, is_answered, read_value
from robustcl.threat import Ball, ball_of
from robustcl.train.engine import Engine

Entry = Mapping[str, Any]
"""What was measured of one question, as ``representation.json`` has it."""


def check(column: Moved, composition: RecipePlan, judged: tuple[EvaluationPlan, str], where: str) -> None:
    """Refuse what could not be measured: an unknown attack, or one that needs what test images cannot offer."""
    part = check_attack(column.attack, where, frozenset({Need.CLUSTERS}))
    if Need.CLUSTERS in part.needs and column.targets is None:
        raise NeedNotMet(f'{where}: {part.name} reads clusters; add targets = {{ use = "spherical-kmeans" }}')
    _ball(column, composition.ball, where)
    if column.targets is not None:
        targets = plan_targets(column.targets, judged[1], composition)
        needs.check_clusters(scaled.mover(part.plugin), targets, f"{where}.attack")


def measure(
    column: Perturbed | Representation,
    judged: tuple[EvaluationPlan, str],
    composition: RecipePlan,
    folder: Path,
    beside: Sequence[Section] = (),
) -> Reading | None:
    """Return a column's number of a finished run, measured once for each question and then read from there.

    ``beside``: the columns of the same row; what they ask of the same images is measured with it. ``None`` where there
    is nothing to measure, as a share of the images that were classified correctly when none was.
    """
    question = image_question(column, composition.ball, judged[0].table.samples)
    return ask(column, question, beside, folder, identify_run(folder, composition, *judged), composition.parts.owners,
               lambda names: measure_run(folder, composition, judged, question, names))  # fmt: skip


def image_question(column: Moved, own: Ball, samples: int | None) -> ImageQuestion:
    """Return what a column asks of the test images, all of them or the first."""
    return ImageQuestion(
        attack=column.attack, ball=_ball(column, own, column.name), times=column.times, targets=column.targets,
        first=samples,
    )  # fmt: skip


def ask(
    column: Perturbed | Representation,
    question: ImageQuestion,
    beside: Sequence[Section],
    folder: Path,
    classifier: Mapping[str, Any],
    whose: Owners | None,
    answered: Callable[[Sequence[str]], Entry],
) -> Reading | None:
    """Return what a folder holds under a question, else what is ``answered`` of the measures that are asked for."""
    entry: Entry | None = kept.find(folder, question.table(classifier, whose))
    if not is_answered(entry, column.value):
        same = [other for other in beside if isinstance(other, Perturbed | Representation) and _alike(other, column)]
        entry = answered(list(dict.fromkeys(VALUES[other.value][0] for other in (column, *same))))
    assert entry is not None
    return read_value(entry, column.value)


def measure_run(
    folder: Path,
    plan: RecipePlan,
    judged: tuple[EvaluationPlan, str],
    question: ImageQuestion,
    names: Sequence[str],
    source: RunSubject | None = None,
) -> Entry:
    """Measure a finished run; ``source`` is attacked in its place, where one is given."""
    return answer(folder, plan, *judged, question, names, engine_of(folder), source=source)


def open_subject(folder: Path, plan: RecipePlan, judged: tuple[EvaluationPlan, str]) -> RunSubject:
    """Return a classifier of a finished run."""
    with open_run(plan, folder, engine_of(folder), lambda sentence: None) as run:
        return run.subject(*judged)


def engine_of(folder: Path) -> Engine:
    """Return what a run was trained on."""
    options = read_lock(folder)[2]
    return Engine(options["device"], 1, options["precision"])


def _alike(one: Moved, other: Moved) -> bool:
    """Say whether two columns look at the same images."""
    asked = set(Moved.model_fields) - {"name", "sweep", "best"}
    return one.model_dump(include=asked) == other.model_dump(include=asked)


def _ball(column: Moved, own: Ball, where: str) -> Ball:
    ball = own if column.threat is None else ball_of(column.threat.norm, column.threat.eps, f"{where}.threat")
    return Ball.checked(ball.norm, float(ball.eps) * column.times)
