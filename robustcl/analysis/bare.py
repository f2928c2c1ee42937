"""The evaluation of a model that no recipe of ours has trained: the same attacks, journal and results."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from robustcl.analysis.subject import OpenModel, OutsideModel, open_model
from robustcl.composition.asked import attack_of, judged_table
from robustcl.composition.parts import Parts
from robustcl.data.promises import class_names
from robustcl.disk import read_json
from robustcl.errors import DataError, UsageError
from robustcl.evaluate import shards
from robustcl.evaluate.subject import Subject
from robustcl.evaluate.work import WHOLE, Work
from robustcl.run import answers
from robustcl.run.evaluation import Answers, measure, measurement
from robustcl.run.execution import Run
from robustcl.run.folder import make_out, only_one
from robustcl.run.machine import check_device
from robustcl.run.results import Results, environment
from robustcl.run.stages import Say
from robustcl.train.engine import Engine
from robustcl.train.log import Watcher, watch_nothing


@dataclass(frozen=True, slots=True)
class ModelQuestion(OutsideModel):
    """Anybody's model, to be judged."""

    attacks: Sequence[str | Mapping[str, Any]] = ("pgd-20",)
    """Names, or tables of a name, its options and, as ``samples``, of how many images."""
    samples: int | None = None
    block: int = 250
    audit: int | None = None
    """How many images are audited: a quarter of those judged, at most 100, where it is left out; 0 for none."""


def judge_model(
    asked: ModelQuestion,
    out: Path,
    *,
    device: str = "auto",
    precision: str = "32-true",
    work: Work = WHOLE,
    watcher: Watcher = watch_nothing,
    say: Say = lambda sentence: None,
) -> Run:
    """Judge a model on the test images of a data set; what the journal in ``out`` knows is not computed again.

    Raises:
        UsageError: a model, data set, attack or threat that is not there or does not fit, or a journal of another.
        DataError: logits that are not finite, or labels that the model has no output for.
        WeightsError: weights that are not safetensors, or of another model.
    """
    check_device(device)
    parts, engine = Parts(), Engine(device, 1, precision)
    opened, subject = _open(asked, parts, engine, say)
    _refuse_others(out, subject)
    make_out(out, "the model's numbers")
    for remark in opened.remarks:
        say(remark)
    with only_one(out, work.occupies):
        whole = work.whole
        journal = shards.journal(out, work.shard, worker=work.worker)
        journal.require_model(subject.model)
        told = replace(work, block=asked.block, told=lambda what, done, total: watcher(what, done, total, {}))
        started = time.monotonic()
        measured = measure(subject, measurement(journal, asked.seed, told, say, out))
        described = _describe(asked, subject, measured, time.monotonic() - started)
        results = Results({**described, "environment": environment(parts, engine)})
        if whole:
            results = Results(answers.keep(out, results.tables, say))
    return Run(out, results)


def _describe(asked: ModelQuestion, subject: Subject, measured: Answers, seconds: float) -> dict[str, Any]:
    """Return everything that the report and later comparisons need to know of a judged model, but its environment."""
    return {
        "schema": 1,
        "name": asked.model,
        "seed": asked.seed,
        "model": {"spec": asked.model, "weights": str(asked.weights or ""), "hash": subject.model},
        "finished": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "threat": {"norm": subject.ball.norm, "eps": asked.eps, "eps_value": float(subject.ball.eps)},
        "data": {
            "use": asked.dataset,
            "classes": list(class_names(subject.dataset)),
            "test": max(row["n"] for row in measured["rows"]),
            "item": list(subject.test.item),
        },
        **measured,
        "silhouette": [],
        "timing": {"train_seconds": 0.0, "evaluate_seconds": seconds},
    }


def _refuse_others(out: Path, subject: Subject) -> None:
    """Refuse a folder that holds numbers under another threat, or of another data set: one table would mix them."""
    try:
        held = read_json(out / "results.json", undefined=lambda _: None)
        threat, data = held["threat"], held["data"]["use"]
        ball = (threat["norm"], float(threat["eps_value"]))
    except (DataError, ValueError, KeyError, TypeError):
        return
    if ball != (subject.ball.norm, float(subject.ball.eps)):
        said = f"{threat['norm']} eps {threat.get('eps')}"
        raise UsageError(f"--out {out} holds numbers under another threat, {said}; choose another folder")
    if data != subject.data:
        raise UsageError(f"--out {out} holds numbers of another data set, {data}; choose another folder")


def _open(asked: ModelQuestion, parts: Parts, engine: Engine, say: Say) -> tuple[OpenModel, Subject]:
    """Find and check everything before a folder is made."""
    ball, data = asked.ball(), asked.data()
    tables = [judged_table(attack, "--attack") for attack in asked.attacks]
    attacks = [(table, attack_of(table, parts, "--attack"), parts.resolved(table)) for table in tables]
    opened = open_model(asked.model, asked.weights, data, engine, parts, say)
    subject = opened.subject(ball, asked.seed, attacks, samples=asked.samples, block=asked.block, audit=asked.audit)
    return opened, subject
