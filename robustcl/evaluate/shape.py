"""The shape of results.json: what must be a text, a number, a list or a table, if it is there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from robustcl.errors import DataError

_TEXTS, _NUMBERS = ["text"], ["number"]
_ROW: Mapping[str, Any] = {
    "protocol": "text", "route": "text", "split": "text", "attack": "text", "metric": "text", "n": "count",
    "correct": "count", "value": "number", "low": "number", "high": "number", "samples": "count", "upper": "number",
    "model": "text", "members": {"*": "number"}, "stage": "text", "encoder": "text", "protocol_version": "plain",
    "protocol_hash": "text", "resolved": {}, "target": "count", "attacked": "count", "reached": "count",
}  # fmt: skip
_STAGE: Mapping[str, Any] = {
    "name": "text", "epochs": "number", "views": {"*": "text"}, "encoders": {"*": "text"}, "routes": {"*": "text"},
    "generators": [{"name": "text", "use": "text", "reads": _TEXTS, "writes": _TEXTS, "origin": "text"}],
    "terms": [{"name": "text", "use": "text", "selector": "text", "views": {"*": "text"}, "mix": {}}],
    "targets": {"use": "text"},
}  # fmt: skip
_SHAPE: Mapping[str, Any] = {
    "name": "text", "seed": "count", "recipe_hash": "text", "finished": "text", "pretrained": "text",
    "threat": {"norm": "text", "eps": "plain", "eps_value": "number"},
    "data": {"use": "text", "classes": ["plain"], "train": "count", "validation": "count", "test": "count",
             "item": ["count"]},
    "composition": {"stages": [_STAGE]},
    "rows": [_ROW],
    "silhouette": [{"stage": "text", "grid": _NUMBERS, "score": _NUMBERS, "chosen": "number"}],
    "timing": {"*": "number"},
    "environment": {},
}  # fmt: skip
"""A name of a kind, a list of one shape, or a table: of named shapes, or of one ("*") whatever the names."""


def check(file: Path, results: Mapping[str, Any], unjudged: bool = False) -> None:
    """Check what results.json holds: the shape of all that readers look at, and every text and number in it.

    unjudged: whether there may be no row.

    Raises:
        DataError: the first fault, with its place.
    """
    rows = results.get("rows")
    if not isinstance(rows, list) or not (rows or unjudged):
        raise DataError(f"{file} has no result rows: evaluate the run first")
    for place, row in enumerate(rows):
        if not isinstance(row, dict) or not isinstance(row.get("metric"), str):
            raise DataError(f"{file}: row {place} names no metric: evaluate the run again")
    for fault in _faults(results, _SHAPE, ""):
        raise DataError(f"{file}: {fault}: evaluate the run again")
    check_values(str(file), results)


def check_values(where: str, tree: Any) -> None:
    """Refuse texts that a terminal would obey or no file could hold, and integers beyond 64 bits, however deep.

    Raises:
        DataError: as said, in ``where``.
    """
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, Mapping):
            pending += [*node, *node.values()]
        elif isinstance(node, list):
            pending += node
        elif isinstance(node, str) and (found := _UNPRINTABLE.search(node)):
            raise DataError(f"{where} holds the control character {found[0]!a}: restore it from where it comes")
        elif isinstance(node, int) and node.bit_length() > 63:
            raise DataError(f"{where} holds a number of more than 64 bits: restore it from where it comes")


def printable(text: str) -> str:
    """Return a text without what a terminal would obey; each such character is shown by its code."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


_UNPRINTABLE = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")


def short(value: Any) -> str:
    """Return a value as JSON has it, cut to what fits into a sentence."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _faults(value: Any, shape: Any, where: str) -> Iterator[str]:
    if value is None:
        return
    if isinstance(shape, str):
        if not _KINDS[shape](value):
            yield f"{where} is {short(value)}, not {_WORDS[shape]}"
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield f"{where} is {short(value)}, not a list"
            return
        for place, entry in enumerate(value):
            yield from _faults(entry, shape[0], f"{where}[{place}]")
    elif not isinstance(value, dict):
        yield f"{where or 'it'} is {short(value)}, not a table"
    else:
        for name, entry in value.items():
            inner = shape.get(name, shape.get("*"))
            if inner is not None:
                yield from _faults(entry, inner, f"{where}.{name}".lstrip("."))


_KINDS = {
    "text": lambda value: isinstance(value, str),
    "plain": lambda value: isinstance(value, str | int | float),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "count": lambda value: isinstance(value, int) and not isinstance(value, bool),
}
_WORDS = {"text": "a text", "plain": "a text or a number", "number": "a number", "count": "a whole number"}
