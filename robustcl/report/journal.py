"""The outcomes of single samples behind the rows of a run, read from its journal without touching it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustcl.report import tables

_Place = tuple[Any, ...]
"""protocol, route, split, attack, digest of the question."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One line: what became of a sample under one member of an attack, "clean" being none."""

    member: str
    label: int
    prediction: int
    correct: bool


Outcomes = Mapping[int, Sequence[Outcome]]
"""Index of a sample -> its outcomes in the order in which it met the members; the last one counts."""


def outcomes(file: Path, rows: Sequence[Mapping[str, Any]]) -> list[Outcomes]:
    """Return the outcomes behind each row, none where the journal does not know of its very question.

    A row's question is its specification and the hash of its model. Lines that are damaged are passed over.
    """
    found: list[dict[int, list[Outcome]]] = [{} for _ in rows]
    if not file.is_file():
        return list(found)
    asked = [_question(row) for row in rows]
    wanted: dict[_Place, int] = {}
    digests: list[str] = []
    with file.open(encoding="utf-8", errors="replace") as lines:
        for text in lines:
            if '"question"' not in text[:16] and not any(digest in text for digest in digests):
                continue  # most lines of a journal are of other questions, and parsing them takes minutes
            try:
                line = json.loads(text)
                if "question" in line:
                    _note(line, rows, asked, wanted, digests)
                else:
                    _take(line, wanted, found)
            except (ValueError, KeyError, TypeError):
                continue
    return list(found)


def _question(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a row answers, as the evaluation writes it out into the journal."""
    return {**tables.spec(row), **({} if row.get("model") is None else {"model": row["model"]})}


def _note(
    line: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    asked: Sequence[Mapping[str, Any]],
    wanted: dict[_Place, int],
    digests: list[str],
) -> None:
    """Note the digest of a question that a row answers."""
    question, digest = json.loads(line["spec"]), str(line["question"])
    for number, (row, about) in enumerate(zip(rows, asked, strict=True)):
        if question == about:
            place = tuple(row.get(key) for key in ("protocol", "route", "split", "attack"))
            wanted[*place, digest] = number
            digests.append(digest)


def _take(line: Mapping[str, Any], wanted: Mapping[_Place, int], found: Sequence[dict[int, list[Outcome]]]) -> None:
    number = wanted.get(tuple(line[key] for key in ("protocol", "route", "split", "attack", "spec")))
    if number is not None:
        outcome = Outcome(
            str(line.get("member", "clean")), int(line["label"]), int(line["prediction"]), line["correct"] is True
        )
        found[number].setdefault(int(line["index"]), []).append(outcome)
