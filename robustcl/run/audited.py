"""The audit behind a headline number: made once for each question, and kept beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from robustcl.audit.bench import count_known
from robustcl.audit.runner import audit
from robustcl.audit.values import as_json
from robustcl.disk import make_folder, read_json, write_atomically
from robustcl.errors import Contradiction, DataError
from robustcl.evaluate import audits
from robustcl.evaluate.extras import Extra
from robustcl.evaluate.journal import Journal, Key, Outcome
from robustcl.evaluate.judge import Members
from robustcl.evaluate.measure import Measurement
from robustcl.evaluate.subject import Subject
from robustcl.rng import Rng

_MOST = 100
"""Samples that an evaluation audits unasked; ``robustcl audit`` takes more."""


def audit_subject(subject: Subject, measurement: Measurement) -> list[dict[str, Any]]:
    """Return the audit of a subject as results.json holds it, in a list; empty where there is nothing to audit or keep.

    The audit that stands in the results of ``measurement.folder`` stays where it is of as many samples or more, and of
    the same classifier, threat, seed, attacks and outcomes; the like of so many is taken from ``audits/`` there.
    """
    folder, say = measurement.folder, measurement.say
    if folder is None or not subject.attacks:
        return []
    judged = max(len(measurement.index(subject.test, subject.asked.first(n))) for n in range(len(subject.attacks)))
    samples = _samples_of(subject.asked.audit, judged)
    if samples == 0 or measurement.work.over:
        say(f"{subject.name}: not audited, {'as was asked' if samples == 0 else 'because the time is up'}")
        return []
    found = _obtain(folder, subject, measurement, min(samples, subject.test.samples))
    say(f"{subject.name} audit of {found['samples']} samples: {found['verdict'].upper()}")
    return [found]


AUDIT = Extra("", "audit", audit_subject)


def _obtain(folder: Path, subject: Subject, measurement: Measurement, samples: int) -> dict[str, Any]:
    asked, say = subject.questions(), measurement.say
    outcomes, place = worst_known(measurement.journal, asked), place_of([key for key, _ in asked], subject.seed)
    stored = _stored(folder, place)
    if stored is not None and stored["samples"] >= samples:
        if _same(stored, place, outcomes):
            if stored["samples"] > samples:
                say(f"{subject.name}: the audit of {stored['samples']} samples stays, "
                    f"it asks the same as one of {samples}")  # fmt: skip
            return stored
        if stored["samples"] > samples:
            said = "whose model, threat, attacks, seed or journal are others, or not told"
            say(f"{subject.name}: an audit of {samples} samples replaces that of {stored['samples']}, {said}")
    told = measurement.work.told
    return _made(folder, subject, place, outcomes, samples, lambda done, n: told(f"audit {subject.name}", done, n))


def place_of(keys: Sequence[Key], seed: int) -> dict[str, Any]:
    """Return what an audit's entry in results.json says of what was asked; ``rows``: digests of the reported rows."""
    place = {"protocol": keys[0].protocol, "route": keys[0].route, "question": digest_question(keys, seed)}
    return {**place, "rows": [key.digest for key in keys]}


def digest_question(keys: Sequence[Key], seed: int) -> str:
    """Return a hash of what an audit is held against: the reported attacks on a model within a ball, and the seed."""
    text = "|".join([*(f"{key.protocol} {key.route} {key.digest}" for key in keys), str(seed)])
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _made(
    folder: Path, subject: Subject, place: Mapping[str, Any], outcomes: Sequence[Outcome], samples: int,
    told: Callable[[int, int], None],
) -> dict[str, Any]:  # fmt: skip
    """Audit, or find the audit in ``audits/``, where its name holds the question, the samples and their outcomes."""
    held = count_known(outcomes, range(samples))
    path = audits.path_of(folder, {**place, "samples": samples, "reported": held})
    assert path is not None
    if (kept := audits.read_kept(path)) is not None:
        return kept
    found = audit(
        subject.classifier, subject.test, torch.arange(samples), subject.ball, Rng(subject.seed, "audit"),
        known=outcomes, told=lambda what, done, total: told(done, total),
    )  # fmt: skip
    entry = {**place, **as_json(found)}
    make_folder(path.parent)
    write_atomically(path, json.dumps(entry, indent=1))
    return entry


def _stored(folder: Path, place: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the audit of a protocol and route that stands in a folder's results, if there is one."""
    try:
        tables = read_json(folder / "results.json")
        found: list[dict[str, Any]] = [
            entry for entry in tables.get("audit", [])
            if (entry["protocol"], entry["route"]) == (place["protocol"], place["route"])
            and entry.get("question") in (None, place["question"]) and isinstance(entry["samples"], int)
        ]  # fmt: skip
        for entry in found:
            audits.check(folder, entry, "")
    except (DataError, Contradiction, AttributeError, TypeError, KeyError):
        return None  # there is none, nobody can read it, or it was changed
    return found[0] if found else None


def _same(stored: Mapping[str, Any], place: Mapping[str, Any], outcomes: Sequence[Outcome]) -> bool:
    """Say whether an audit would be made again as it is, were it as large; one of more attacks is no less."""
    asked = stored.get("question"), stored.get("reported")
    return asked == (place["question"], count_known(outcomes, range(stored["samples"])))


def _samples_of(asked: int | None, judged: int) -> int:
    """Return how many samples are audited: as many as asked for, else a quarter of those judged, at most 100."""
    return asked if asked is not None else min(max(judged // 4, 1), _MOST)


def worst_known(journal: Journal, asked: Iterable[tuple[Key, Members]]) -> list[Outcome]:
    """Return the worst outcome of each sample that a journal holds under several attacks."""
    found: dict[int, Outcome] = {}
    for key, members in asked:
        for index, outcome in journal.finished(key, [name for name, _ in members]).items():
            if index not in found or not outcome.correct:
                found[index] = outcome
    return list(found.values())


def store(folder: Path, entries: Sequence[Mapping[str, Any]]) -> bool:
    """Put audits into a run's results.json, each in place of an older one of the same question; say if done."""
    path = folder / "results.json"
    if not path.is_file():
        return False
    tables = read_json(path, remedy="evaluate the run again to write a new one", undefined=lambda _: None)
    if not isinstance(tables, dict) or not isinstance(tables.get("audit", []), list):
        raise DataError(f"{path} holds no results: evaluate the run again to write a new one")
    places = {(entry["protocol"], entry["route"]) for entry in entries}
    asked = {entry.get("question") for entry in entries} | {None}
    others = [
        old for old in tables.get("audit", []) if isinstance(old, dict)
        and ((old.get("protocol"), old.get("route")) not in places or old.get("question") not in asked)
    ]  # fmt: skip
    tables["audit"] = [*others, *entries]
    for entry in entries:
        if (kept := audits.path_of(folder, entry)) is not None:
            make_folder(kept.parent, within=folder)
            write_atomically(kept, json.dumps(entry, indent=1), within=folder)
    write_atomically(path, json.dumps(tables, indent=1))
    return True
