"""What a study measures itself on a finished run: test images perturbed by any attack, judged by the run's classifier.

The same attack engine as in evaluation: guard, keyed randomness, eval mode, verdicts in float32.
"""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from robustcl.composition import needs
from robustcl.composition.api import Composition
from robustcl.composition.build import build_stage
from robustcl.composition.data import open_splits, open_test
from robustcl.composition.evaluation import Evaluation
from robustcl.composition.folder import reopen
from robustcl.composition.judging import EvaluationPlan, attack_of
from robustcl.composition.parts import Parts
from robustcl.composition.stages import Stages
from robustcl.data.subset import Images
from robustcl.errors import NeedNotMet
from robustcl.evaluate.judge import Members
from robustcl.evaluate.solo import Solo
from robustcl.nn.encoder import Encoder
from robustcl.protocols import Need
from robustcl.recipe import Stage, Targets
from robustcl.rng import Rng
from robustcl.study.grammar import Perturbed
from robustcl.study.observer import Observer, Reading, nearest, observe
from robustcl.threat import Ball
from robustcl.train.checkpoint import write_atomically
from robustcl.train.encoders import Encoders
from robustcl.train.engine import Engine
from robustcl.train.log import watch_nothing
from robustcl.train.plan import Part, TargetPlan
from robustcl.train.refresh import ClusterState, refresh
from robustcl.types import Clustering

_GIVEN = frozenset({Need.FEATURES, Need.PREDICTIONS, Need.LABELS, Need.INDEX, Need.OBJECTIVE, Need.CLUSTERS})
"""What test images and their classifier can offer an attack."""
_FILE = "measures.json"


def check(column: Perturbed, composition: Composition, judged: tuple[EvaluationPlan, str], where: str) -> None:
    """Refuse what could not be measured: an unknown attack, or one that needs what test images cannot offer."""
    part = attack_of(column.attack, Parts(), f"{where}.attack")
    wanted = part.plugin.generator.needs if isinstance(part.plugin, Solo) else part.needs
    for need in sorted(wanted - _GIVEN, key=str):
        raise NeedNotMet(f"{where}: {part.name} reads {need.value}, which no test image has")
    if Need.CLUSTERS in wanted and column.targets is None:
        raise NeedNotMet(f'{where}: {part.name} reads clusters; add targets = {{ use = "spherical-kmeans" }}')
    _ball(composition, column.times)
    if column.targets is not None:
        targets = _targets(column.targets, judged[1], composition, Parts())
        plugin = part.plugin.generator if isinstance(part.plugin, Solo) else part.plugin
        needs.check_clusters(plugin, targets, f"{where}.attack")


def measured(column: Perturbed, judged: tuple[EvaluationPlan, str], folder: Path) -> Reading | None:
    """Return the number, measured once for each setting and then read from ``measures.json`` in the run.

    ``None`` where no image was classified correctly, of which there would be a share.
    """
    plan, route = judged
    question = {**column.model_dump(mode="json", exclude={"name", "value"}), "route": route, "protocol": plan.table.use}
    key = hashlib.blake2b(json.dumps(question, sort_keys=True).encode(), digest_size=8).hexdigest()
    known = _known(folder / _FILE)
    if key not in known:
        known[key] = {"question": question, **_measure(column, plan, route, folder)}
        write_atomically(folder / _FILE, json.dumps(known, indent=1))
    found = known[key].get(column.value)
    return None if found is None else Reading(**found)


def _judged(plan: EvaluationPlan) -> tuple[str | None, ...]:
    return plan.table.use, plan.table.stage, plan.table.encoder


def _known(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def _measure(column: Perturbed, plan: EvaluationPlan, route: str, folder: Path) -> dict[str, Any]:
    composition, options = reopen(folder)
    engine = Engine(options["device"], 1, options["precision"])
    splits = open_splits(composition, engine.device)
    run = Stages(composition, folder, engine, watch_nothing, lambda sentence: None, splits)
    own = next(other for other in composition.evaluations if _judged(other) == _judged(plan))
    encoder = Evaluation(run).prepared(own, route)
    test = open_test(composition, engine.device)
    ball = _ball(composition, column.times)
    rng = Rng(composition.recipe.seed, "study", own.table.use, route)
    judge = Observer(encoder, route, ball, rng, engine.autocast)
    index = torch.arange(min(test.samples, own.table.samples or test.samples), device=test.device)
    if column.targets is not None:
        targets = _targets(column.targets, route, composition, Parts())
        clusters = _clusters(targets, encoder, splits.pretrain, rng)
        judge.clusters = nearest(clusters, judge, test, index, own.table.block)
    part = attack_of(column.attack, Parts(), "attack")
    members = _members(part, column.times, len(splits.classes), ball)
    return observe(judge, test, index, part.name, members, own.table.block)


def _ball(composition: Composition, times: float) -> Ball:
    return Ball.checked(composition.ball.norm, float(composition.ball.eps) * times)


def _members(part: Part, times: float, classes: int, ball: Ball) -> Members:
    """Return the attack's members, their steps as much longer as the ball is larger."""
    plugin = copy.copy(part.plugin)
    if isinstance(plugin, Solo):
        plugin.generator = copy.copy(plugin.generator)
    moved = plugin.generator if isinstance(plugin, Solo) else plugin
    if hasattr(moved, "step_size"):
        moved.step_size = moved.step_size * times
    members: Members = plugin.members(classes, ball)
    return members


def _targets(table: Targets, route: str, composition: Composition, parts: Parts) -> TargetPlan:
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
