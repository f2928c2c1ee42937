"""What a study measures itself: a classifier, the test images, and what was measured before of a finished run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robustcl.analysis.subject import open_run
from robustcl.composition.data import Splits
from robustcl.composition.folder import reopen
from robustcl.composition.plan import EvaluationPlan, RecipePlan
from robustcl.data.subset import Images
from robustcl.disk import read_json, write_atomically
from robustcl.errors import DataError
from robustcl.evaluate.classifier import Classifier
from robustcl.evaluate.observer import Observer
from robustcl.nn.encoder import Encoder
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.train.engine import Engine

_FILE = "measures.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A classifier and the test images it is measured on: those of ``index`` (n,), ``block`` of them at a time.

    ball: the threat of what is measured, unless a column has its own. outputs: the number of logits.
    """

    classifier: Classifier
    ball: Ball
    engine: Engine
    test: Images
    index: Tensor
    block: int
    rng: Rng
    outputs: int

    def observer(self, ball: Ball) -> Observer:
        """Return a judge of the classifier within a ball."""
        return Observer(self.classifier, ball, self.rng, self.engine.autocast)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished(Judged):
    """The classifier that a finished run was judged by, with the run's encoder and its training images."""

    composition: RecipePlan
    splits: Splits
    encoder: Encoder
    route: str


def open_finished(folder: Path, plan: EvaluationPlan, route: str) -> Finished:
    """Open a run's directory at the evaluation that answers to ``plan``, with the classifier that it judged."""
    composition, options = reopen(folder)
    engine = Engine(options["device"], 1, options["precision"])
    own = next(other for other in composition.evaluations if _judged(other) == _judged(plan))
    with open_run(composition, folder, engine, lambda sentence: None) as run:
        found = run.subject(own, route)
    test, splits = found.test, found.splits
    index = torch.arange(min(test.samples, own.table.samples or test.samples), device=test.device)
    return Finished(
        classifier=found.classifier, ball=found.ball, engine=engine, test=test, index=index, block=own.table.block,
        rng=Rng(found.seed, "study", own.table.use, route), outputs=len(splits.classes), composition=composition,
        splits=splits, encoder=found.encoder, route=route,
    )  # fmt: skip


def _judged(plan: EvaluationPlan) -> tuple[str | None, ...]:
    return plan.table.use, plan.table.stage, plan.table.encoder


def read_known(folder: Path, question: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run's ``measures.json`` holds under a question, empty where it was never asked."""
    found: dict[str, Any] = _all(folder).get(_key(question), {})
    return found


def keep(folder: Path, question: Mapping[str, Any], answers: Mapping[str, Any]) -> dict[str, Any]:
    """Add answers under a question, and return all that are known now."""
    everything = _all(folder)
    found = {"question": dict(question), **everything.get(_key(question), {}), **answers}
    everything[_key(question)] = found
    write_atomically(folder / _FILE, json.dumps(everything, indent=1))
    return found


def _key(question: object) -> str:
    return hashlib.blake2b(json.dumps(question, sort_keys=True).encode(), digest_size=8).hexdigest()


def _all(folder: Path) -> dict[str, Any]:
    """Return what is kept; nothing where that is missing or damaged, so that it is measured anew."""
    try:
        found = read_json(folder / _FILE)
    except DataError:
        return {}
    tables = found.items() if isinstance(found, dict) else ()
    return {key: table for key, table in tables if isinstance(table, dict) and _key(table.get("question")) == key}
