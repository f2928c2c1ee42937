"""The audit behind a headline number: made once for each question, and kept beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from robustcl.audit.runner import audit
from robustcl.audit.values import as_json
from robustcl.data.subset import Images
from robustcl.evaluate.journal import Key, Outcome
from robustcl.evaluate.judge import Judge
from robustcl.evaluate.work import Told
from robustcl.rng import Rng
from robustcl.train.checkpoint import write_atomically

_MOST = 100
"""Samples that an evaluation audits unasked; ``robustcl audit`` takes more."""


def audited(
    folder: Path, judge: Judge, test: Images, keys: Sequence[Key], known: Sequence[Outcome], samples: int, seed: int,
    told: Told,
) -> dict[str, Any]:  # fmt: skip
    """Return the audit of a judged classifier as results.json holds it, with its protocol and route.

    Args:
        folder: of the run; an audit of the same classifier, attacks and samples is taken from ``audits/`` there.
        judge: the classifier and the threat.
        test: the images, of which the first ``samples`` are audited.
        keys: the questions that the reported numbers answer.
        known: the worst outcome of each sample under them.
        samples: how many.
        seed: of the audit's stream.
        told: hears of each check.
    """
    place = {"protocol": keys[0].protocol, "route": keys[0].route}
    text = "|".join([*(f"{key.protocol} {key.route} {key.digest}" for key in keys), str(samples), str(seed)])
    path = folder / "audits" / f"{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}.json"
    if path.is_file():
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return kept
    title = " ".join(f"audit {place['protocol']} {place['route']}".split())
    found = audit(
        judge.classifier, test, torch.arange(min(samples, test.samples)), judge.ball, Rng(seed, "audit"), known=known,
        told=lambda what, done, total: told(title, done, total),
    )  # fmt: skip
    entry = place | as_json(found)
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, json.dumps(entry, indent=1))
    return entry


def samples_of(asked: int | None, judged: int) -> int:
    """Return how many samples are audited: as many as asked for, else a quarter of those judged, at most 100."""
    return asked if asked is not None else min(max(judged // 4, 1), _MOST)


def worst(outcomes: Sequence[Sequence[Outcome]]) -> list[Outcome]:
    """Return the worst outcome of each sample under several attacks."""
    found: dict[int, Outcome] = {}
    for attack in outcomes:
        for outcome in attack:
            if outcome.index not in found or not outcome.correct:
                found[outcome.index] = outcome
    return list(found.values())


def store(folder: Path, entries: Sequence[Mapping[str, Any]]) -> bool:
    """Put audits into a run's results.json, each in place of an older one of its protocol and route; say if done."""
    path = folder / "results.json"
    if not path.is_file():
        return False
    tables = json.loads(path.read_text(encoding="utf-8"))
    fresh = {(entry["protocol"], entry["route"]) for entry in entries}
    others = [old for old in tables.get("audit", []) if (old["protocol"], old["route"]) not in fresh]
    tables["audit"] = [*others, *entries]
    write_atomically(path, json.dumps(tables, indent=1))
    return True
