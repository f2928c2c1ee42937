"""results.json as a store of answers by question: an evaluation adds its own, and replaces none but these."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from robustcl.disk import read_json, write_atomically
from robustcl.errors import RobustclError
from robustcl.evaluate import shape
from robustcl.evaluate.extras import EXTRAS
from robustcl.evaluate.extras.evidence import Evidence
from robustcl.run.evaluation import LISTS

_TOLD = ("protocol", "route", "stage", "encoder", *dict.fromkeys(name for extra in EXTRAS for name in extra.told))
"""What tells an entry's question from others."""

_CLASSIFIER = ("protocol", "identity", "stage", "encoder", "data")
"""Entries of a row's specification that say which classifier was judged on which data."""
_VOLATILE = ("finished", "timing", "environment")

Say = Callable[[str], None]
Entry = Mapping[str, Any]


def keep(folder: Path, fresh: Entry, say: Say) -> dict[str, Any]:
    """Add the answers of an evaluation to a folder's results.json and return what stands there then.

    The same question asked again has its answer replaced; every other one stays. Nothing is written where nothing has
    changed. ``say`` hears what is left out because weights or images are others now.
    """
    file, asked = folder / "results.json", json.loads(json.dumps(fresh))
    stored = _read(file, say)
    tables = asked if stored is None else add(_held(folder, stored, say), asked, say)
    if stored is not None and _lasting(stored) == _lasting(tables):
        return dict(stored)
    write_atomically(file, json.dumps(tables, indent=1))
    return tables


def add(stored: Entry, fresh: Entry, say: Say) -> dict[str, Any]:
    """Return the stored results with fresh answers among them, by classifier and then in the order of being asked.

    How many images were asked for belongs to a question: an answer on fewer or more of them stands beside the first. A
    partial answer gives way to a whole one. Answers of other weights or images than the fresh ones of the same
    classifier are left out, and said.
    """
    kept = {name: [entry for entry in stored.get(name) or () if isinstance(entry, Mapping)] for name in LISTS}
    now = _subjects(fresh["rows"])
    stale = [row for row in kept["rows"] if _is_stale(row, now)]
    if stale:
        said = ", ".join(dict.fromkeys(_told(row) for row in stale))
        say(
            f"results.json leaves out {said}: they were measured on other weights or images than those judged now; "
            "the journal keeps their outcomes"
        )
    models = {row.get("model") for row in stale}
    places = {(row.get("protocol"), row.get("route")) for row in stale}
    kept["rows"] = [row for row in kept["rows"] if not _is_stale(row, now)]
    for name in LISTS[1:]:
        kept[name] = [entry for entry in kept[name] if not _falls(entry, places, models)]
    merged = {name: _joined(kept[name], fresh.get(name) or (), name) for name in LISTS}
    merged["rows"] = _in_order(merged["rows"])
    tables = {**stored, **fresh, **merged}
    tested = [int(row.get("n") or 0) for row in merged["rows"] if row.get("split") == "test"]
    tables["data"] = {**fresh["data"], "test": max(tested, default=0)}
    before, spent = ((found.get("timing") or {}).get("evaluate_seconds") or 0.0 for found in (stored, fresh))
    tables["timing"] = {**(fresh.get("timing") or {}), "evaluate_seconds": before + spent}
    return tables


def _read(file: Path, say: Say) -> Entry | None:
    """Return what stands in a folder; ``None`` where there is nothing, or nothing that can be read."""
    if not file.is_file():
        return None
    try:
        found = read_json(file, undefined=lambda _: None)
        if isinstance(found, dict) and found.get("schema") == 1:
            shape.check(file, found, unjudged=True)
            if all(_is_list_of_answers(found.get(name) or []) for name in LISTS):
                return found
    except RobustclError:
        pass
    say(f"{file} cannot be read as results of this version: it is written anew, from this evaluation alone")
    return None


def _held(folder: Path, stored: Entry, say: Say) -> Entry:
    """Return what stands in a folder without what its journal contradicts."""
    try:
        found, told = Evidence(folder).sift(stored)
    except RobustclError:
        return stored  # a journal that cannot be read is said by whoever needs it
    for sentence in told:
        say(f"{sentence}: left out")
    return found


def _is_list_of_answers(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, dict) and all(isinstance(entry.get(key), str | None) for key in ("protocol", "route"))
        for entry in value
    )


def _lasting(tables: Entry) -> dict[str, Any]:
    return {key: value for key, value in tables.items() if key not in _VOLATILE}


def _spec(row: Entry) -> Entry:
    spec = row.get("spec")
    return spec if isinstance(spec, Mapping) else {}


def _classifier(row: Entry) -> str:
    """Return which classifier a row judges on which split, by name and settings."""
    settings = {key: _spec(row).get(key) for key in _CLASSIFIER}
    return json.dumps([row.get("protocol"), row.get("route"), row.get("split"), settings], sort_keys=True)


def _subjects(rows: Sequence[Entry]) -> dict[str, tuple[object, object]]:
    """Return the hash of the weights and the digest of the images by classifier."""
    return {_classifier(row): (row.get("model"), _spec(row).get("content")) for row in rows}


def _is_stale(row: Entry, now: Mapping[str, tuple[object, object]]) -> bool:
    was = (row.get("model"), _spec(row).get("content"))
    pairs = zip(was, now.get(_classifier(row), (None, None)), strict=True)
    return any(None not in pair and pair[0] != pair[1] for pair in pairs)


def _falls(entry: Entry, places: set[tuple[Any, Any]], models: set[Any]) -> bool:
    """Say whether a curve, a table of corruptions or an audit is of a classifier that is no more."""
    if (entry.get("protocol"), entry.get("route")) not in places:
        return False
    return "model" not in entry or entry["model"] in models  # an audit's question holds the model's hash


def _joined(kept: Sequence[Entry], fresh: Sequence[Entry], name: str) -> list[Entry]:
    found = list(kept)
    for entry in fresh:
        same = [place for place, old in enumerate(found) if _is_same(name, old, entry)]
        if not same:
            found.append(entry)
        elif not (_is_partial(entry) and not _is_partial(found[same[0]])):
            found[same[0]] = entry
            found = [old for place, old in enumerate(found) if place not in same[1:]]
    return found


def _is_same(name: str, one: Entry, other: Entry) -> bool:
    """Say whether two entries answer the same question."""
    if name == "rows":
        return _question(one) == _question(other)
    if name == "audit":
        same = all(one.get(key) == other.get(key) for key in ("protocol", "route"))
        return same and ("question" not in one or one["question"] == other.get("question"))
    alike = all((one.get(key) or None) == (other.get(key) or None) for key in _TOLD if key in one)
    alike = alike and list(one.get("accuracy") or ()) == list(other.get("accuracy") or ()) if _by_name(one) else alike
    told = [key for key in ("questions", "samples") if key in one and key in other]
    return alike and all(one[key] == other[key] for key in told)


def _by_name(entry: Entry) -> bool:
    """Say whether accuracies stand under names, as those of corruptions, whose names are then part of the question."""
    return isinstance(entry.get("accuracy"), Mapping)


def _question(row: Entry) -> str:
    asked = row.get("samples") or row.get("n")
    words = [row.get(key) for key in ("protocol", "route", "split", "attack")]
    metric = None if row.get("correct") is not None else str(row.get("metric")).removeprefix("partial ")
    return json.dumps([*words, _spec(row), asked, metric], sort_keys=True)


def _is_partial(entry: Entry) -> bool:
    samples, n = entry.get("samples"), entry.get("n")
    return bool(entry.get("partial")) or (isinstance(samples, int) and isinstance(n, int) and n < samples)


def _in_order(rows: Sequence[Entry]) -> list[Entry]:
    """Put the rows of one classifier together: the test split first, clean images before attacks."""
    first: dict[tuple[Any, ...], int] = {}
    for row in rows:
        first.setdefault(_group(row), len(first))
    return sorted(rows, key=lambda row: (first[_group(row)], row.get("split") != "test", row.get("attack") is not None))


def _group(row: Entry) -> tuple[Any, ...]:
    return (row.get("protocol"), row.get("route"), _spec(row).get("stage"), _spec(row).get("encoder"))


def _told(row: Entry) -> str:
    return " ".join(filter(None, (str(row.get(key) or "") for key in ("protocol", "route", "split", "metric"))))
