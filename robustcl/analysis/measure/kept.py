"""``representation.json`` of a run or a model: each question that was measured, and the arrays behind its figures.

An entry's arrays lie in a file that is named by its content and written first, so that a reader finds the old answers
or the new ones, whole.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustcl.analysis.measure.numbers import Measures
from robustcl.data.artifacts import read_arrays
from robustcl.disk import make_folder, read_json, write_atomically
from robustcl.errors import DataError

FILE, SCHEMA = "representation.json", 1

_FOUND = ("samples", "model")
"""What a kept question also tells, which is only known once its classifier is opened."""
_TABLES = ("question", "values", "settings", "refused")


def find(folder: Path, question: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the entry of a question, ``None`` where it was never asked."""
    return next((entry for entry in _entries(folder / FILE) if _asked(entry) == question), None)


def find_arrays(folder: Path, entry: Mapping[str, Any], name: str) -> dict[str, NDArray[Any]]:
    """Return a measure's arrays, none where they are missing or damaged."""
    try:
        arrays = read_arrays(folder / str(entry["arrays"])) if entry.get("arrays") else {}
    except (DataError, KeyError):
        return {}
    return {key.partition("/")[2]: value for key, value in arrays.items() if key.partition("/")[0] == name}


def keep(
    folder: Path,
    question: Mapping[str, Any],
    known: Mapping[str, Any],
    found: Mapping[str, Measures],
    refused: Mapping[str, str],
) -> dict[str, Any]:
    """Add what was found, and why some measures gave nothing, and return the question's entry.

    Other answers to the question stay beside the new ones, and other questions beside it, as long as they are of the
    same weights: ``known`` says of how many images the answer is, and of which model.
    """
    entries = _entries(folder / FILE)
    whole = {**question, **known}
    old = next((entry for entry in entries if entry["question"] == whole), None)
    values, settings, reasons, arrays = _old(folder, old)
    for name in (*found, *refused):
        for table in (values, settings, reasons):
            table.pop(name, None)
        arrays = {key: value for key, value in arrays.items() if key.partition("/")[0] != name}
    values |= {name: _plain(each.numbers) for name, each in found.items()}
    settings |= {name: dict(each.settings) for name, each in found.items() if each.settings}
    reasons |= refused
    arrays |= {f"{name}/{key}": value for name, each in found.items() for key, value in each.arrays.items()}
    entry = {
        "question": whole, "values": values, "settings": settings, "refused": reasons,
        "arrays": _store(folder, arrays) if arrays else None,
    }  # fmt: skip
    kept = [other for other in entries if _asked(other) != question and not _outdated(other["question"], whole)]
    write_atomically(folder / FILE, json.dumps({"schema": SCHEMA, "entries": [*kept, entry]}, indent=1))
    _tidy(folder, [*kept, entry])
    return entry


def _asked(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry["question"].items() if key not in _FOUND}


def _outdated(question: Mapping[str, Any], by: Mapping[str, Any]) -> bool:
    """Say whether an answer is of what this classifier was before, or was taken of it by an earlier version."""
    if _place(question) != _place(by):
        return False
    return "sample" not in question or any(question.get(key) != by.get(key) for key in ("model", "weights"))


def _place(question: Mapping[str, Any]) -> list[Any]:
    """Return which classifier of the run an answer is of, whatever has become of its weights."""
    weights = question.get("weights")
    stage = weights.get("folder") if isinstance(weights, Mapping) else None
    return [stage, *(question.get(key) for key in ("protocol", "route", "split"))]


def _entries(path: Path) -> list[dict[str, Any]]:
    """Return the entries that are there; of a file that is damaged or of another version, none."""
    try:
        found = read_json(path)
        entries = found["entries"] if found["schema"] == SCHEMA else []
        return [entry for entry in entries if _is_sound(entry)]
    except (DataError, KeyError, TypeError):
        return []  # of the file; an entry that is damaged by itself is left out by itself


def _is_sound(entry: Any) -> bool:
    """Say whether an entry is as one was written: tables of tables, and numbers where numbers belong."""
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), dict) for key in _TABLES):
        return False
    tables = [*entry["values"].values(), *entry["settings"].values()]
    if not all(isinstance(table, dict) for table in tables):
        return False
    pairs = [number for table in entry["values"].values() for number in table.values()]
    numbers = [one for pair in pairs for one in (pair.values() if isinstance(pair, dict) else [pair])]
    counts = [entry["question"].get("samples"), *(table.get("judged", 0) for table in entry["settings"].values())]
    return all(isinstance(one, int | float | None) for one in numbers) and all(type(one) is int for one in counts)


def _old(
    folder: Path, entry: Mapping[str, Any] | None
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, NDArray[Any]]]:
    """Return an entry's values, settings, reasons and arrays; nothing where its arrays cannot be read any more."""
    if entry is None:
        return {}, {}, {}, {}
    try:
        arrays = {} if entry["arrays"] is None else read_arrays(folder / entry["arrays"])
        return dict(entry["values"]), dict(entry["settings"]), dict(entry["refused"]), arrays
    except (DataError, KeyError, TypeError, ValueError):
        return {}, {}, {}, {}


def _plain(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Return numbers as JSON holds them: ``None`` for what is infinite or not defined."""
    return {
        key: _plain(value) if isinstance(value, Mapping) else value if math.isfinite(value) else None
        for key, value in numbers.items()
    }


def _store(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> str:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    data = stream.getvalue()
    name = f"artifacts/measures-{hashlib.blake2b(data, digest_size=6).hexdigest()}.npz"
    make_folder(folder / "artifacts", within=folder)
    write_atomically(folder / name, data, within=folder)
    return name


def _tidy(folder: Path, entries: list[dict[str, Any]]) -> None:
    """Remove arrays that no entry names any more."""
    named = {entry.get("arrays") for entry in entries}
    for path in (folder / "artifacts").glob("measures-*.npz"):
        if f"artifacts/{path.name}" not in named:
            path.unlink(missing_ok=True)
