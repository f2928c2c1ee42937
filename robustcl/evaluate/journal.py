"""One line per sample and attack, appended as it is known; an evaluation that was cut off computes nothing twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from robustcl.disk import Appender
from robustcl.errors import DataError, UsageError

CLEAN = "clean"
"""The member that every question begins with: the prediction on the input itself."""

_Place = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Key:
    """Which question the outcomes answer."""

    protocol: str
    route: str
    split: str
    attack: str | None
    """``None`` for clean images."""
    spec: str = ""
    """Every setting of protocol, attack, ball and model, as JSON: other settings are another question."""

    @property
    def digest(self) -> str:
        """A short name of ``spec``, as the journal's lines carry it."""
        return hashlib.blake2b(self.spec.encode(), digest_size=6).hexdigest()

    @property
    def place(self) -> _Place:
        """The question as the journal's lines carry it."""
        return (self.protocol, self.route, self.split, self.attack, self.digest)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one sample under one member of an attack; ``hash`` names the very input that was judged."""

    index: int
    label: int
    prediction: int
    correct: bool
    seed: int
    hash: str
    member: str = CLEAN


class Journal:
    """Outcomes kept in a file of JSON lines; a half-written last line is passed over, and cut off by who writes more.

    Each question is written out once, with its whole ``spec``; the lines of its samples name it by a digest. A sample
    has one line for each member of the attack that it met, in order; the last one is what became of it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.questions: dict[str, str] = {}
        """digest -> spec."""
        self._known: dict[_Place, dict[int, list[Outcome]]] = {}
        self._whole: int | None = None
        if path.exists():
            self._read()

    def known(self, key: Key) -> dict[int, list[Outcome]]:
        """Return what is known of each sample under one question: its outcomes in the order of the members."""
        return self._known.setdefault(key.place, {})

    def places(self) -> Sequence[_Place]:
        """Return every question that has an answer: protocol, route, split, attack, digest."""
        return [place for place, outcomes in self._known.items() if outcomes]

    def finished(self, key: Key, members: Sequence[str]) -> dict[int, Outcome]:
        """Return the last outcome of each sample that was fooled, or met all ``members`` of the attack."""
        final = ([CLEAN, *members])[-1]
        last = {index: outcomes[-1] for index, outcomes in self.known(key).items()}
        return {index: outcome for index, outcome in last.items() if not outcome.correct or outcome.member == final}

    def append(self, key: Key, outcomes: Iterable[Outcome]) -> None:
        """Write outcomes and flush them to the disk."""
        known = self.known(key)
        fresh = [o for o in outcomes if all(o.member != old.member for old in known.get(o.index, []))]
        lines = []
        if key.digest not in self.questions:
            self.questions[key.digest] = key.spec
            lines.append(json.dumps({"question": key.digest, "spec": key.spec}))
        question = asdict(key) | {"spec": key.digest}
        lines += [json.dumps(question | asdict(outcome)) for outcome in fresh]
        with Appender(self.path) as file:
            if self._whole is not None:
                file.cut(self._whole)
                self._whole = None
            file.write(lines)
            file.flush()
        for outcome in fresh:
            known.setdefault(outcome.index, []).append(outcome)

    def models(self) -> set[str]:
        """Return the hashes of the models that were asked about."""
        found = (json.loads(spec).get("model") for spec in self.questions.values() if spec)
        return {model for model in found if model is not None}

    def require_model(self, model: str) -> None:
        """Refuse to go on where a question was asked of another model than the one of this hash."""
        for other in sorted(self.models() - {model}):
            raise UsageError(
                f"{self.path} is the journal of another model ({other}, this one is {model}; weights, architecture and "
                "the code of its classes count): choose another --out, or judge the model that it belongs to"
            )

    def _read(self) -> None:
        text = self.path.read_bytes()
        whole = text.rfind(b"\n") + 1
        # Somebody who only reads must not write: another process may be in the middle of that line.
        self._whole = whole if whole < len(text) else None
        for number, line in enumerate(text[:whole].splitlines(), 1):
            try:
                if line.strip():
                    self._take(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                raise DataError(
                    f"{self.path}: line {number} is no outcome of this version of robustcl: "
                    "move the file away to judge anew"
                ) from None

    def _take(self, entry: dict[str, object]) -> None:
        if "question" in entry:
            self.questions[str(entry["question"])] = str(entry["spec"])
            return
        place = tuple(entry.pop(name) for name in ("protocol", "route", "split", "attack", "spec"))
        outcome = Outcome(**entry)  # type: ignore[arg-type]
        self._known.setdefault(place, {}).setdefault(outcome.index, []).append(outcome)  # type: ignore[arg-type]


def fingerprint(x: Tensor) -> list[str]:
    """Return a short digest of each input (R, *item), the same on every device."""
    rows = x.detach().to("cpu", torch.float32).contiguous().numpy()
    return [hashlib.blake2b(row.tobytes(), digest_size=8).hexdigest() for row in rows]


def model_hash(state: Mapping[str, Tensor]) -> str:
    """Return a short digest of a module's ``state_dict``: names, shapes and values."""
    digest = hashlib.blake2b(digest_size=8)
    for name, value in sorted(state.items()):
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
