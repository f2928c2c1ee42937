"""The lines of a journal: how they are written, each with a digest of all before it, and what is no such line."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from robustcl.disk import parse_json
from robustcl.errors import DataError

CLEAN = "clean"
"""The member that every question begins with: the prediction on the input itself."""

Place = tuple[str, str, str, str | None, str]
"""protocol, route, split, attack, and the digest of the question."""


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


@dataclass(frozen=True, slots=True)
class QuestionLine:
    """A question as it is written out once: its digest, by which outcomes name it, and its whole specification."""

    question: str
    spec: str


@dataclass(frozen=True, slots=True)
class OutcomeLine:
    """One outcome, and the question that it answers."""

    place: Place
    outcome: Outcome


def digest_of(spec: str) -> str:
    """Return a short name of a specification, as the journal's lines carry it."""
    return hashlib.blake2b(spec.encode(), digest_size=6).hexdigest()


class Chain:
    """A running digest: each line's ``check`` is one of the line itself and of all that stand above it."""

    def __init__(self) -> None:
        self._sum = b""
        self._checked = False

    def write(self, entry: Mapping[str, Any]) -> str:
        """Return the line of an entry, with its check, and go on behind it."""
        body = json.dumps(entry)
        self._add(body.encode())
        self._checked = True
        return f'{body[:-1]}, "check": "{self._sum.hex()}"}}'

    def read(self, line: bytes) -> dict[str, Any]:
        """Return the entry of a line without its check, and go on behind it.

        Lines of earlier versions have none; below one that has, each must.

        Raises:
            ValueError: no JSON object, or a line that does not follow those above it.
        """
        found = _CHECK.search(line)
        body = line if found is None else line[: found.start()] + b"}"
        self._add(body)
        if found is not None and found[1] != self._sum.hex().encode():
            raise ValueError("its check is not that of this line and those above it")
        if found is None and self._checked:
            raise ValueError("it has no check, and the lines above it have")
        self._checked = found is not None
        try:
            entry = parse_json(body, "the line", remedy="", unique=True)
        except DataError as error:
            why = str(error).removesuffix("; ").removeprefix("the line is damaged: ")
            raise ValueError(f"it is no JSON, {why}") from None
        if not isinstance(entry, dict):
            raise ValueError("it is no JSON object")
        return entry

    def _add(self, body: bytes) -> None:
        self._sum = hashlib.blake2b(self._sum + body, digest_size=6).digest()


_CHECK = re.compile(rb', "check": "([0-9a-f]{12})"\}$')


def written(place: Place, outcome: Outcome) -> dict[str, Any]:
    """Return the entry of an outcome."""
    return {**dict(zip(_PLACE, place, strict=True)), **asdict(outcome)}


_PLACE = ("protocol", "route", "split", "attack", "spec")
_OUTCOME = ("index", "label", "prediction", "correct", "seed", "hash", "member")
_TEXTS = ("protocol", "route", "split")
_DIGEST, _HASH = re.compile(r"[0-9a-f]{12}"), re.compile(r"[\w.-]{0,64}", re.ASCII)
_LEAST = {"index": 0, "label": -1, "prediction": 0, "seed": None}
"""The smallest value of each number; an image without a label has -1."""


def entry_of(entry: Mapping[str, Any]) -> QuestionLine | OutcomeLine:
    """Return what an entry says, once its types, ranges and verdict are those of an outcome.

    Raises:
        ValueError: what is wrong with it.
    """
    if "question" in entry:
        return _asked(entry)
    if unknown := entry.keys() - {*_PLACE, *_OUTCOME}:
        raise ValueError(f"it has the key {min(unknown)[:40]!r}, which is none of an outcome's")
    missing = [name for name in (*_PLACE, *_OUTCOME[:-1]) if name not in entry]
    if missing:
        raise ValueError(f"{missing[0]} is missing")
    attack, member = entry["attack"], entry.get("member", CLEAN)
    for name in _TEXTS:
        _require(isinstance(entry[name], str), name, entry[name], "a text")
    _require(attack is None or (isinstance(attack, str) and attack), "attack", attack, "a name or null")
    _require(isinstance(member, str) and member, "member", member, "a name")
    _require(_is(_DIGEST, entry["spec"]), "spec", entry["spec"], "a digest of 12 digits")
    _require(_is(_HASH, entry["hash"]), "hash", entry["hash"], "a digest")
    for name, least in _LEAST.items():
        number = entry[name]
        _require(type(number) is int, name, number, "a whole number")
        _require(least is None or number >= least, name, number, f"{least} or more")
        _require(abs(number) < 2**63, name, number, "a number of 64 bits")
    right = entry["label"] == entry["prediction"]
    _require(entry["correct"] is right, "correct", entry["correct"], f"{str(right).lower()}, by label and prediction")
    place = tuple(entry[name] for name in _PLACE)
    return OutcomeLine(place, Outcome(**{name: entry[name] for name in _OUTCOME[:-1]}, member=member))


def _asked(entry: Mapping[str, Any]) -> QuestionLine:
    if entry.keys() != {"question", "spec"}:
        raise ValueError("it is a question without its specification, or with something beside it")
    question, spec = entry["question"], entry["spec"]
    _require(isinstance(spec, str), "spec", spec, "a text")
    _require(question == digest_of(spec), "question", question, "the digest of its specification")
    try:
        _require(not spec or isinstance(parse_json(spec, "spec", remedy=""), dict), "spec", spec, "a JSON object")
    except DataError:
        raise ValueError("its specification is no JSON") from None
    return QuestionLine(question, spec)


def _is(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _require(met: object, name: str, value: object, wanted: str) -> None:
    if not met:
        text = json.dumps(value)
        raise ValueError(f"{name} is {text if len(text) <= 40 else text[:37] + '...'}, not {wanted}")
