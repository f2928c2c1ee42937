"""What the command audits: the classifier that a finished run was judged on, or anybody's model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from robustcl import reading
from robustcl.audit.rivals import Surrogate
from robustcl.audit.runner import Told, audit
from robustcl.audit.values import Audit
from robustcl.composition import api, store
from robustcl.composition.data import open_splits, open_test
from robustcl.composition.evaluation import Evaluation
from robustcl.composition.folder import only_one, reopen
from robustcl.composition.judging import EvaluationPlan, ball_of
from robustcl.composition.parts import Parts
from robustcl.composition.question import Question
from robustcl.composition.run import check_device
from robustcl.composition.stages import Say, Stages
from robustcl.data.held import keep, opened
from robustcl.data.subset import Images
from robustcl.errors import UsageError
from robustcl.evaluate import scaled
from robustcl.evaluate.classifier import Classifier, of_encoder, of_model
from robustcl.evaluate.journal import Outcome, model_hash
from robustcl.evaluate.work import WHOLE
from robustcl.nn import outside
from robustcl.recipe import Use
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.train.engine import Engine
from robustcl.train.log import watch_nothing

SAMPLES = 200


@dataclass(frozen=True, slots=True)
class Opened:
    """A classifier with everything that its audit needs; ``known``: the worst that its reported attacks did."""

    name: str
    classifier: Classifier
    images: Images
    ball: Ball
    seed: int
    known: tuple[Outcome, ...] = ()
    surrogates: tuple[Surrogate, ...] = ()
    place: Mapping[str, str] | None = None
    """Protocol and route, of a run."""

    def audit(self, samples: int | None, *, deep: bool, told: Told) -> Audit:
        """Audit the first ``samples`` test images."""
        index = torch.arange(min(self.images.samples, samples or SAMPLES))
        rng = Rng(self.seed, "audit")
        return audit(
            self.classifier, self.images, index, self.ball, rng,
            deep=deep, known=self.known, surrogates=self.surrogates, told=told,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Model:
    """Anybody's model, as the command line names it; ``weights`` is a safetensors file."""

    model: str
    dataset: str
    weights: Path | None = None
    data_dir: str | None = None
    norm: str = "Linf"
    eps: str = "8/255"
    seed: int = 0
    surrogate: str | None = None
    surrogate_weights: Path | None = None


def of_outside(asked: Model, device: str = "auto") -> Opened:
    """Open a model that somebody else has trained, and the test images of a data set.

    Raises:
        UsageError: a model, data set or threat that is not there or does not fit.
        WeightsError: weights that are not safetensors, or of another model.
    """
    check_device(device)
    engine, ball = Engine(device, 1), ball_of(asked.norm, asked.eps, "--eps")
    options = {"path": asked.data_dir} if asked.data_dir else {}
    dataset = Parts().make("dataset", Use(use=asked.dataset, **options), "--dataset").plugin
    images, classes = keep(opened(dataset, "test"), engine.device), len(dataset.classes())
    surrogates: tuple[Surrogate, ...] = ()
    if asked.surrogate is not None:
        surrogates = ((asked.surrogate, _placed(asked.surrogate, asked.surrogate_weights, classes, engine)),)
    classifier = _placed(asked.model, asked.weights, classes, engine)
    return Opened(asked.model, classifier, images, ball, asked.seed, surrogates=surrogates)


@contextmanager
def of_run(folder: Path, protocol: str | None, routes: Sequence[str], say: Say) -> Iterator[list[Opened]]:
    """Open what a finished run was judged on: the prepared encoder of each route, and the run's test images.

    Raises:
        UsageError: no finished run, or a protocol or route that it does not have.
    """
    judged, engine = _composed(folder, protocol, routes)
    with only_one(folder):
        splits = open_splits(judged, engine.device)
        evaluation = Evaluation(Stages(judged, folder, engine, watch_nothing, say, splits), WHOLE)
        test = open_test(judged, engine.device)
        yield [
            _of_route(judged, evaluation, plan, route, test)
            for plan in judged.evaluations
            for route in plan.table.route
        ]


def _composed(folder: Path, protocol: str | None, routes: Sequence[str]) -> tuple[api.Composition, Engine]:
    """Return the run's recipe with the evaluations that are audited."""
    composition, options = reopen(folder)
    for stage in composition.recipe.stage:
        if store.facts(folder, stage.name) is None:
            raise UsageError(f"{folder}: stage {stage.name} is not finished; continue it with robustcl resume {folder}")
    tables: dict[str, Any] = reading.read(folder / "recipe.lock.toml")
    entries = tables.get("evaluate") or []
    if protocol is not None:
        entries = [entry for entry in entries if entry["use"] == protocol] or [{"use": protocol}]
    if not entries:
        raise UsageError(f"the recipe of {folder} has no [[evaluate]] table: say by which --protocol it is judged")
    for entry in entries:
        if routes:
            entry["route"] = list(routes)
    tables["evaluate"] = entries
    return api.from_tables(tables, str(folder)), Engine(options["device"], 1, "32-true")


def _of_route(
    judged: api.Composition, evaluation: Evaluation, plan: EvaluationPlan, route: str, test: Images
) -> Opened:
    encoder = evaluation.prepared(plan, route)
    question = Question(judged, plan, route, model_hash(encoder.state_dict()))
    known: dict[int, Outcome] = {}
    for number, attack in enumerate(plan.attacks):
        assert evaluation.journal is not None  # one process, so this is the first rank
        members = scaled.members(attack.plugin, len(judged.dataset.plugin.classes()), judged.ball)
        names, key = [name for name, _ in members], question.attacked("test", number, judged.ball)
        for index, outcome in evaluation.journal.finished(key, names).items():
            if index not in known or not outcome.correct:
                known[index] = outcome
    classifier, seed = of_encoder(encoder, route), judged.recipe.seed
    return Opened(f"{plan.table.use} {route}", classifier, test, judged.ball, seed, tuple(known.values()),
                  place={"protocol": plan.table.use, "route": route})  # fmt: skip


def _placed(spec: str, weights: Path | None, classes: int, engine: Engine) -> Classifier:
    model = outside.build(spec, weights, classes)
    engine.place(model)
    return of_model(model)
