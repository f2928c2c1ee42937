"""The per-sample journal of a run, read without touching it: which image was right under which question."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustcl.errors import DataError
from robustcl.evaluate.journal import Key
from robustcl.report import tables


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """The final outcomes of one row of results.json, in ascending order of the images.

    index, label (n,) int64; right (n,) bool; clean: the hash of each unperturbed image, ``None`` where it is not known.
    """

    index: NDArray[np.int64]
    label: NDArray[np.int64]
    right: NDArray[np.bool_]
    clean: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class _Seen:
    label: int
    correct: bool


_Question = tuple[str, str, str, str | None, str]
"""protocol, route, split, attack, digest of the specification."""


class Outcomes:
    """What a run's ``journal.jsonl`` knows; empty where there is none.

    A sample may have several lines under one question, one for each member of an attack: the last one counts.
    """

    def __init__(self, folder: Path) -> None:
        """Read the journal. Raises ``DataError`` where a line is damaged; a half-written last line is passed over."""
        self.path = folder / "journal.jsonl"
        self._seen: dict[_Question, dict[int, _Seen]] = {}
        self._images: dict[str, dict[int, str]] = {}
        self._altered: set[str] = set()
        if self.path.is_file():
            self._read()

    def of(self, row: Mapping[str, Any]) -> Verdicts | str:
        """Return the outcomes behind a row of results.json, or why there are none.

        They must give the very number that the row states; where the journal knows more images than the row counts,
        the row's are the first.
        """
        if not self.path.is_file():
            return f"there is no {self.path}"
        seen = self._seen.get(_question(row))
        if not seen:
            return f"{self.path} holds no outcomes of it"
        index = sorted(seen)[: row.get("n") or len(seen)]
        right = np.array([seen[i].correct for i in index])
        if len(index) != row.get("n") or int(right.sum()) != row.get("correct"):
            return f"{self.path} and results.json do not agree"
        hashes = self._images.get(str(row.get("split")), {})
        clean = tuple(hashes[i] for i in index) if all(i in hashes for i in index) else None
        return Verdicts(np.array(index), np.array([seen[i].label for i in index]), right, clean)

    def _read(self) -> None:
        try:
            text = self.path.read_bytes()
        except OSError as error:
            raise DataError(f"{self.path} cannot be read ({error.strerror}): make it readable") from error
        for number, line in enumerate(text[: text.rfind(b"\n") + 1].splitlines(), 1):
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                raise DataError(
                    f"{self.path}: line {number} is no outcome of a sample: move the file away to compare "
                    "without paired tests, or evaluate the run again"
                ) from None

    def _take(self, line: Mapping[str, Any]) -> None:
        if "index" not in line and "question" in line:
            if "corruption" in json.loads(line["spec"]):
                self._altered.add(line["question"])
            return  # its samples' lines name the question by digest
        question = (line["protocol"], line["route"], line["split"], line["attack"], line["spec"])
        index = int(line["index"])
        self._seen.setdefault(question, {})[index] = _Seen(int(line["label"]), bool(line["correct"]))
        if line["attack"] is None and line["spec"] not in self._altered:
            self._images.setdefault(line["split"], {})[index] = str(line["hash"])


def _question(row: Mapping[str, Any]) -> _Question:
    """Return the journal's name of what a row answers: its specification and model, as the evaluation writes them."""
    model = {"model": row["model"]} if "model" in row else {}
    spec = json.dumps({**tables.spec(row), **model}, sort_keys=True)
    protocol, route, split = (str(row.get(key)) for key in ("protocol", "route", "split"))
    return (protocol, route, split, row.get("attack"), Key(protocol, route, split, row.get("attack"), spec).digest)
