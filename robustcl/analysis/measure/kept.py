"""``representation.json`` of a run: what was measured of its representation, and the arrays behind its figures.

One entry for each protocol, route and split. An entry's arrays lie in a file that is named by its content and written
first, so that a reader finds the old answers or the new ones, whole.
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


def keep(
    folder: Path, question: Mapping[str, Any], found: Mapping[str, Measures], refused: Mapping[str, str]
) -> dict[str, Any]:
    """Add what was found, and why some measures gave nothing, and return the question's entry.

    Answers to the same question stay beside the new ones; those of another one on the same protocol, route and split
    are replaced.
    """
    question = json.loads(json.dumps(question))  # as it will be read again
    entries = _entries(folder / FILE)
    place = _place(question)
    old = next((entry for entry in entries if entry["question"] == question), None)
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
        "question": question, "values": values, "settings": settings, "refused": reasons,
        "arrays": _store(folder, arrays) if arrays else None,
    }  # fmt: skip
    kept = [other for other in entries if _place(other["question"]) != place]
    write_atomically(folder / FILE, json.dumps({"schema": SCHEMA, "entries": [*kept, entry]}, indent=1))
    _tidy(folder, [*kept, entry])
    return entry


def _place(question: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(question.get(key) for key in ("protocol", "route", "split"))


def _entries(path: Path) -> list[dict[str, Any]]:
    """Return the entries that are there; of a file that is damaged or of another version, none."""
    try:
        found = read_json(path)
        entries = found["entries"] if found["schema"] == SCHEMA else []
        return [entry for entry in entries if isinstance(entry["question"], dict)]
    except (DataError, KeyError, TypeError):
        return []


def _old(
    folder: Path, entry: Mapping[str, Any] | None
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, NDArray[Any]]]:
    """Return an entry's values, settings, reasons and arrays; nothing where its arrays cannot be read any more."""
    if entry is None:
        return {}, {}, {}, {}
    try:
        arrays: dict[str, NDArray[Any]] = {}
        if entry["arrays"] is not None:
            arrays = read_arrays(folder / entry["arrays"])
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
