"""What a study measures itself on a finished run: test images perturbed by any attack, judged by the run's classifier.

The same attack engine as in evaluation: checked promises, keyed randomness, eval mode, verdicts in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robustcl.composition import needs
from robustcl.composition.asked import attack_of, check_attack
from robustcl.composition.build import build_stage
from robustcl.composition.parts import Parts
from robustcl.composition.plan import EvaluationPlan, RecipePlan
from robustcl.data.subset import Images
from robustcl.errors import NeedNotMet
from robustcl.evaluate import scaled
from robustcl.evaluate.observer import Observations, Observer, Reading, nearest, observe
from robustcl.nn.encoder import Encoder
from robustcl.protocols import Need
from robustcl.recipe import Section, Stage, Targets
from robustcl.rng import Rng
from robustcl.study import finished, representation
from robustcl.study.finished import Finished, Judged
from robustcl.study.grammar import Moved
from robustcl.study.representation import MeasuredViews
from robustcl.threat import Ball, ball_of
from robustcl.train.encoders import Encoders
from robustcl.train.plan import TargetPlan
from robustcl.train.refresh import ClusterState, refresh
from robustcl.types import Clustering

_COUNTED = frozenset({"accuracy", "relative-drop"})
"""Values that count the fooled: the attack sees the verdict, as in evaluation, and leaves a fooled image alone."""


def check(column: Moved, composition: RecipePlan, judged: tuple[EvaluationPlan, str], where: str) -> None:
    """Refuse what could not be measured: an unknown attack, or one that needs what test images cannot offer."""
    part = check_attack(column.attack, where, frozenset({Need.CLUSTERS}))
    if Need.CLUSTERS in part.needs and column.targets is None:
        raise NeedNotMet(f'{where}: {part.name} reads clusters; add targets = {{ use = "spherical-kmeans" }}')
    _ball(column, composition.ball, where)
    if column.targets is not None:
        needs.check_clusters(
            scaled.mover(part.plugin), _targets(column.targets, judged[1], composition, Parts()), f"{where}.attack"
        )


def measure(
    column: Moved, judged: tuple[EvaluationPlan, str], folder: Path, beside: Sequence[Section] = ()
) -> Reading | None:
    """Return the number, measured once for each setting and then read from ``measures.json`` in the run.

    ``beside``: the columns of the same row; what they ask of the same images is measured with it. ``None`` where there
    is nothing to measure, as a share of the images that were classified correctly when none was.
    """
    plan, route = judged
    asked = {"route": route, "protocol": plan.table.use}
    return answer(column, folder, asked, lambda: finished.open_finished(folder, plan, route), beside)


def answer(
    column: Moved,
    folder: Path,
    asked: Mapping[str, Any],
    opened: Callable[[], Judged],
    beside: Sequence[Section] = (),
) -> Reading | None:
    """Return what ``measures.json`` in a folder holds, or measure it; ``asked`` says of which classifier.

    ``beside``: as in ``measure``. ``opened`` is called where something is missing.
    """
    question = _question(column, asked)
    found = finished.read_known(folder, question)
    value = _value(column)
    if value not in found:
        others = {_value(other) for other in beside if isinstance(other, Moved)
                  and _question(other, asked) == question}  # fmt: skip
        found = finished.keep(folder, question, _measure(column, {value, *others}, opened()))
    return None if found[value] is None else Reading(**found[value])


def _value(column: Moved) -> str:
    return str(getattr(column, "value", ""))


def _question(column: Moved, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what makes the moved images; two columns with the same look at the same ones."""
    table = column.model_dump(mode="json", include=set(Moved.model_fields) - {"name", "sweep"})
    if table["threat"] is None:
        del table["threat"]
    if _value(column) in _COUNTED:
        table["verdict"] = True
    return {**table, "use": "perturbed", **asked}


def _measure(column: Moved, values: Set[str], judged: Judged) -> dict[str, Any]:
    ball = _ball(column, judged.ball, column.name)
    judge = judged.observer(ball)
    judge.onward = _value(column) not in _COUNTED
    if column.targets is not None:
        judge.clusters = _nearest(column.targets, _run(judged), judge)
    part = attack_of(column.attack, Parts(), "attack")
    members = scaled.members(part.plugin, judged.outputs, ball, column.times)
    asked = sorted(values & representation.VALUES.keys())
    seen = Observations() if asked else None
    found = observe(judge, judged.test, judged.index, part.name, members, judged.block, seen)
    mine = {value: reading for value, reading in found.items() if (value in _COUNTED) != judge.onward}
    answers: dict[str, Any] = {**dict.fromkeys(values), **mine}
    if seen is not None:
        answers |= representation.measure(asked, MeasuredViews(seen, lambda: _training(_run(judged))))
    return answers


def _run(judged: Judged) -> Finished:
    assert isinstance(judged, Finished), "a model from outside has no training images: its columns are checked before"
    return judged


def _nearest(table: Targets, run: Finished, judge: Observer) -> Clustering:
    targets = _targets(table, run.route, run.composition, Parts())
    clusters = _clusters(targets, run.encoder, run.splits.pretrain, run.rng)
    return nearest(clusters, judge, run.test, run.index, run.block)


def _training(run: Finished) -> tuple[Tensor, Tensor]:
    """Return the clean features (n, F) and the labels (n,) of the training images."""
    blocks = torch.split(torch.arange(run.splits.train.samples), run.block)
    features = [run.classifier.features(images) for _, images in run.splits.train.batches(blocks)]
    return torch.cat(features), run.splits.train.labels


def _ball(column: Moved, own: Ball, where: str) -> Ball:
    ball = own if column.threat is None else ball_of(column.threat.norm, column.threat.eps, f"{where}.threat")
    return Ball.checked(ball.norm, float(ball.eps) * column.times)


def _targets(table: Targets, route: str, composition: RecipePlan, parts: Parts) -> TargetPlan:
    table = table.model_copy(update={"of": table.of.model_copy(update={"encoder": "online", "route": route})})
    stage = Stage(name="study", epochs=0, targets=table)
    plan = build_stage(stage, parts, composition.ball, composition.recipe.data.batch, "targets")
    needs.check(stage, plan, "targets")
    assert plan.targets is not None
    return plan.targets


def _clusters(plan: TargetPlan, encoder: Encoder, images: Images, rng: Rng) -> Clustering:
    """Cluster the training images as a stage would, K chosen by silhouette where the table says so."""
    state = ClusterState()
    refresh(state, plan, Encoders(encoder, {}, {}), images, 0.0, rng.child("clusters"))
    assert state.clustering is not None
    return state.clustering
