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
from robustcl.composition.stages import Say
from robustcl.data.subset import Images
from robustcl.disk import make_folder, read_json, write_atomically
from robustcl.errors import Contradiction, DataError
from robustcl.evaluate import audits
from robustcl.evaluate.journal import Journal, Key, Outcome
from robustcl.evaluate.judge import Judge, Members
from robustcl.evaluate.work import Told
from robustcl.rng import Rng

_MOST = 100
"""Samples that an evaluation audits unasked; ``robustcl audit`` takes more."""


def obtain(
    folder: Path, judge: Judge, test: Images, journal: Journal, asked: Sequence[tuple[Key, Members]], samples: int,
    seed: int, told: Told, say: Say = lambda sentence: None,
) -> dict[str, Any]:  # fmt: skip
    """Return the audit of a judged classifier as results.json holds it, with its protocol and route.

    Args:
        folder: of the results. The audit that stands in them stays where it is of as many samples or more, and of the
            same classifier, threat, seed, attacks and outcomes; the like of so many is taken from ``audits/`` there.
        judge: the classifier and the threat.
        test: the images, of which the first ``samples`` are audited.
        journal: what became of each sample under the reported attacks.
        asked: the questions that the reported numbers answer, one at least, with the attacks' members.
        samples: how many.
        seed: of the audit's stream.
        told: hears of each check.
        say: hears where a larger audit stays, and where one is replaced.
    """
    keys, samples, outcomes = [key for key, _ in asked], min(samples, test.samples), worst_known(journal, asked)
    place = place_of(keys, seed)
    who = " ".join(f"{place['protocol']} {place['route']}".split())
    if (stored := _stored(folder, place)) is not None and stored["samples"] >= samples:
        if _same(stored, place, outcomes):
            if stored["samples"] > samples:
                say(f"{who}: the audit of {stored['samples']} samples stays, it asks the same as one of {samples}")
            return stored
        if stored["samples"] > samples:
            said = "whose model, threat, attacks, seed or journal are others, or not told"
            say(f"{who}: an audit of {samples} samples replaces that of {stored['samples']}, {said}")
    return _made(
        folder, judge, test, place, outcomes, samples, seed, lambda done, total: told(f"audit {who}", done, total)
    )


def place_of(keys: Sequence[Key], seed: int) -> dict[str, Any]:
    """Return what an audit's entry in results.json says of what was asked; ``rows``: digests of the reported rows."""
    place = {"protocol": keys[0].protocol, "route": keys[0].route, "question": question(keys, seed)}
    return {**place, "rows": [key.digest for key in keys]}


def question(keys: Sequence[Key], seed: int) -> str:
    """Return a hash of what an audit is held against: the reported attacks on a model within a ball, and the seed."""
    text = "|".join([*(f"{key.protocol} {key.route} {key.digest}" for key in keys), str(seed)])
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _made(
    folder: Path, judge: Judge, test: Images, place: Mapping[str, Any], outcomes: Sequence[Outcome], samples: int,
    seed: int, told: Callable[[int, int], None],
) -> dict[str, Any]:  # fmt: skip
    """Audit, or find the audit in ``audits/``, where its name holds the question, the samples and their outcomes."""
    held = count_known(outcomes, range(samples))
    path = audits.path_of(folder, {**place, "samples": samples, "reported": held})
    assert path is not None
    if (kept := audits.kept(path)) is not None:
        return kept
    found = audit(
        judge.classifier, test, torch.arange(samples), judge.ball, Rng(seed, "audit"), known=outcomes,
        told=lambda what, done, total: told(done, total),
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


def samples_of(asked: int | None, judged: int) -> int:
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
