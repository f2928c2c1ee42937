"""One line per sample and attack, appended as it is known; an evaluation that was cut off computes nothing twice."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Key:
    """Which question the outcomes answer."""

    protocol: str
    route: str
    split: str
    attack: str | None
    """``None`` for clean images."""
    spec: str = ""
    """Every setting of protocol, attack and ball, as text: other settings are another question."""

    @property
    def digest(self) -> str:
        """A short name of ``spec``, as the journal's lines carry it."""
        return hashlib.blake2b(self.spec.encode(), digest_size=6).hexdigest()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one sample; ``hash`` names the very input that was judged."""

    index: int
    label: int
    prediction: int
    correct: bool
    seed: int
    hash: str


class Journal:
    """The outcomes of a run, kept in ``journal.jsonl``; a half-written last line is cut off on opening."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[tuple[str | None, ...], dict[int, Outcome]] = {}
        if path.exists():
            self._read()

    def known(self, key: Key) -> dict[int, Outcome]:
        """Return the outcomes of one question by sample index."""
        return self._known.setdefault((key.protocol, key.route, key.split, key.attack, key.digest), {})

    def append(self, key: Key, outcomes: Iterable[Outcome]) -> None:
        """Write outcomes and flush them to the disk."""
        fresh = [outcome for outcome in outcomes if outcome.index not in self.known(key)]
        question = asdict(key) | {"spec": key.digest}
        with self.path.open("a", encoding="utf-8") as file:
            for outcome in fresh:
                file.write(json.dumps({**question, **asdict(outcome)}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.known(key).update({outcome.index: outcome for outcome in fresh})

    def _read(self) -> None:
        text = self.path.read_bytes()
        whole = text.rfind(b"\n") + 1
        if whole < len(text):
            os.truncate(self.path, whole)
        for line in text[:whole].splitlines():
            entry = json.loads(line)
            question = tuple(entry.pop(name) for name in ("protocol", "route", "split", "attack", "spec"))
            self._known.setdefault(question, {})[entry["index"]] = Outcome(**entry)


def fingerprint(x: Tensor) -> list[str]:
    """Return a short digest of each input (R, *item), the same on every device."""
    rows = x.detach().to("cpu", torch.float32).contiguous().numpy()
    return [hashlib.blake2b(row.tobytes(), digest_size=8).hexdigest() for row in rows]
