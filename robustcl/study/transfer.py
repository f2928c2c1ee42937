"""Attacks in the dark: adversarial images made against one run, judged by the classifier of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from robustcl.composition.asked import attack_of, check_attack
from robustcl.composition.parts import Parts
from robustcl.composition.plan import EvaluationPlan, RecipePlan
from robustcl.errors import UsageError
from robustcl.evaluate import scaled
from robustcl.evaluate.observer import Reading, share
from robustcl.evaluate.unstopped import Unstopped, adversaries
from robustcl.study import finished
from robustcl.study.finished import Finished
from robustcl.study.grammar import Transferred
from robustcl.study.grid import Planned
from robustcl.threat import Ball

Runs = Sequence[tuple[Planned, Path]]


def check(column: Transferred, composition: RecipePlan, planned: Sequence[Planned], where: str) -> None:
    """Refuse an attack that test images cannot feed, and a source that looks at other images."""
    check_attack(column.attack, where)
    Ball.checked(composition.ball.norm, float(composition.ball.eps) * column.times)
    for other in planned:
        if other.row.name == column.source and other.composition.recipe.data.use != composition.recipe.data.use:
            raise UsageError(f"{where}: the row {column.source!r} has another data set; give both the same")


def measure(
    column: Transferred, judged: tuple[EvaluationPlan, str], run: Planned, folder: Path, runs: Runs
) -> Reading | None:
    """Return the accuracy of a run on images that fool another; ``None`` for a row against itself, or without one."""
    plan, route = judged
    source = next((other for other in runs if _is_source(other[0], column, run)), None)
    if source is None or source[0].digest == run.digest:
        return None
    question = {**column.model_dump(mode="json", exclude={"name", "sweep", "source"}), "route": route,
                "protocol": plan.table.use, "source": source[0].digest}  # fmt: skip
    found = finished.read_known(folder, question)
    if "accuracy" not in found:
        theirs = source[0].composition.evaluations[0]
        attacked = finished.open_finished(source[1], theirs, theirs.table.route[0])
        found = finished.keep(folder, question, _measure(column, attacked, finished.open_finished(folder, plan, route)))
    return Reading(**found["accuracy"])


def _is_source(other: Planned, column: Transferred, run: Planned) -> bool:
    return other.row.name == column.source and other.seed == run.seed and other.point == run.point


def _measure(column: Transferred, source: Finished, target: Finished) -> dict[str, Any]:
    # The target's ball: a row's numbers are all of one threat.
    own = target.ball
    ball = Ball.checked(own.norm, float(own.eps) * column.times)
    judge = Unstopped(source.classifier, ball, source.rng, source.engine.autocast)
    part = attack_of(column.attack, Parts(), "attack")
    members = scaled.members(part.plugin, source.outputs, judge.ball, column.times)
    kept = 0
    for rows in torch.split(target.index, target.block):
        x, label = target.test.fetch(rows), target.test.labels[rows]
        moved = adversaries(judge, x, label, rows, part.name, members)
        kept += int((target.classifier.predict(moved) == label).sum())
    return {"accuracy": asdict(share(kept, len(target.index)))}
