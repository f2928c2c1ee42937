"""The evaluation of a model that no recipe of ours has trained: the same attacks, journal and results."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from robustcl.analysis.outside import OutsideModel, open_model
from robustcl.composition import answers, audited
from robustcl.composition.asked import attack_of, attack_table
from robustcl.composition.folder import make_out, only_one
from robustcl.composition.judging import ball_of
from robustcl.composition.parts import Parts
from robustcl.composition.results import Results, environment
from robustcl.composition.run import Run, check_device
from robustcl.composition.stages import Say
from robustcl.data.promises import class_names
from robustcl.data.subset import Images
from robustcl.disk import read_json
from robustcl.errors import DataError, UsageError
from robustcl.evaluate import artifacts, resolved, scaled, shards
from robustcl.evaluate.journal import Key
from robustcl.evaluate.judge import Judge, Members, check_item
from robustcl.evaluate.likeness import content, likeness
from robustcl.evaluate.measure import Measurement
from robustcl.evaluate.work import WHOLE, Work
from robustcl.protocols import DatasetPlugin
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.train.engine import Engine
from robustcl.train.log import Watcher, watch_nothing

PROTOCOL = "as-is"
"""What the column protocol says of a model that is judged as it came."""


@dataclass(frozen=True, slots=True)
class ModelQuestion(OutsideModel):
    """Anybody's model, to be judged."""

    attacks: Sequence[str | Mapping[str, Any]] = ("pgd-20",)
    """Names, or tables of a name and its options."""
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
    subject = _open(asked, Engine(device, 1, precision), say)
    _refuse_others(out, subject)
    make_out(out, "the model's numbers")
    for remark in subject.remarks:
        say(remark)
    with only_one(out, work.shard):
        journal = shards.journal(out, work.shard)
        journal.require_model(subject.digest)
        told = replace(work, block=asked.block, told=lambda what, done, total: watcher(what, done, total, {}))
        measurement = Measurement(journal, asked.seed, told, say)
        started = time.monotonic()
        rows = subject.rows(measurement)
        audits = subject.audits(measurement, out) if work.shard == WHOLE.shard else []
        results = Results(subject.results(rows, audits, time.monotonic() - started))
        if work.shard == WHOLE.shard:
            subject.draw(measurement, out)
            results = Results(answers.keep(out, results.tables, say))
    return Run(out, results)


@dataclass(frozen=True, slots=True)
class _Subject:
    """A model with everything that is asked of it; ``attacks`` are each one's name, members and options.

    digest: of the model; content: of the data set.
    """

    asked: ModelQuestion
    ball: Ball
    engine: Engine
    parts: Parts
    dataset: DatasetPlugin
    images: Images
    judge: Judge
    digest: str
    content: str
    attacks: Sequence[tuple[str, Members, Mapping[str, Any]]]
    resolved: Sequence[Mapping[str, Any]]
    """All options of each attack as it runs."""
    remarks: tuple[str, ...] = ()
    """What the data set left out, in sentences."""

    def rows(self, measurement: Measurement) -> list[dict[str, Any]]:
        samples = self.asked.samples
        found = [measurement.row(self.judge, self.images, self._key(), (), samples)]
        for name, members, options in self.attacks:
            row = measurement.row(self.judge, self.images, self._key(name, options), members, samples)
            found.append(row | {"resolved": self.resolved[len(found) - 1]})
        return found

    def draw(self, measurement: Measurement, out: Path) -> None:
        name, members, _ = self.attacks[0]
        index = measurement.drawn(self.images, self.asked.samples)
        if len(index):
            artifacts.keep(out / "artifacts", self.judge, "", self.images, index, name, members)

    def audits(self, measurement: Measurement, out: Path) -> list[dict[str, Any]]:
        """Return the audit of the model; none where none is asked for, or its time is up."""
        samples = audited.samples_of(self.asked.audit, len(measurement.index(self.images, self.asked.samples)))
        if samples == 0 or measurement.work.over:
            measurement.say(f"not audited, {'as was asked' if samples == 0 else 'because the time is up'}")
            return []
        asked = [(self._key(name, options), members) for name, members, options in self.attacks]
        journal, told, seed = measurement.journal, measurement.work.told, self.asked.seed
        return [audited.obtain(out, self.judge, self.images, journal, asked, samples, seed, told, measurement.say)]

    def results(
        self, rows: Sequence[Mapping[str, Any]], audits: Sequence[Mapping[str, Any]], seconds: float
    ) -> dict[str, Any]:
        return {
            "schema": 1,
            "name": self.asked.model,
            "seed": self.asked.seed,
            "model": {"spec": self.asked.model, "weights": str(self.asked.weights or ""), "hash": self.digest},
            "finished": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "threat": {"norm": self.ball.norm, "eps": self.asked.eps, "eps_value": float(self.ball.eps)},
            "data": {
                "use": self.asked.dataset,
                "classes": list(class_names(self.dataset)),
                "test": max(row["n"] for row in rows),
                "item": list(self.images.item),
            },
            "rows": list(rows),
            "security": [],
            "convergence": [],
            "corruptions": [],
            "audit": list(audits),
            "silhouette": [],
            "timing": {"train_seconds": 0.0, "evaluate_seconds": seconds},
            "environment": environment(self.parts, self.engine),
        }

    def _key(self, attack: str | None = None, options: Mapping[str, Any] | None = None) -> Key:
        spec: dict[str, Any] = {
            "protocol": PROTOCOL, "model": self.digest, "data": self.asked.dataset, "content": self.content,
        }  # fmt: skip
        if attack is not None:
            spec |= {"attack": options, "norm": self.ball.norm, "eps": float(self.ball.eps)}
            spec |= {"seed": self.asked.seed, "precision": self.engine.precision}
        return Key(PROTOCOL, "", "test", attack, json.dumps(spec, sort_keys=True))


def _refuse_others(out: Path, subject: _Subject) -> None:
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
    if data != subject.asked.dataset:
        raise UsageError(f"--out {out} holds numbers of another data set, {data}; choose another folder")


def _open(asked: ModelQuestion, engine: Engine, say: Say) -> _Subject:
    """Find and check everything before a folder is made."""
    parts, ball = Parts(), ball_of(asked.norm, asked.eps, "--eps")
    data = asked.data()
    tables = [attack_table(attack, "--attack") for attack in asked.attacks]
    found = [attack_of(table, parts, "--attack") for table in tables]
    opened = open_model(asked.model, asked.weights, data, engine, parts, say)
    outputs, images = opened.outputs(asked.block), opened.images
    attacks = [
        (attack.name, scaled.members(attack.plugin, outputs, ball), parts.resolved(table))
        for attack, table in zip(found, tables, strict=True)
    ]
    ran = [
        resolved.options(attack.plugin, parts.resolved(table), outputs, ball)
        for attack, table in zip(found, tables, strict=True)
    ]
    for _, members, _ in attacks:
        check_item(members, tuple(images.item))
    judge = Judge(opened.classifier, ball, Rng(asked.seed, "evaluate", PROTOCOL), engine.autocast)
    return _Subject(
        asked, ball, engine, parts, opened.dataset, images, judge, likeness(opened.model), content(images), attacks,
        ran, tuple(getattr(opened.source, "remarks", ())),
    )  # fmt: skip
