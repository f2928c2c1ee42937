"""The numbers of results.json beside its rows, and what the journal says of each: curves and corruptions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from robustcl.evaluate.journal import Journal, Key, Outcome
from robustcl.rng import Rng

Outcomes = Mapping[int, Sequence[Outcome]]
"""Index of a sample -> its outcomes in the order in which it met the members; the last one counts."""


@dataclass(frozen=True, slots=True)
class Point:
    """One number: of which part of results.json, its entry there, and what its question's specification holds.

    asked: key -> value of the specification, ``None`` where it has no such key. attack: ``None`` for clean images.
    """

    part: str
    entry: Mapping[str, Any]
    attack: object
    asked: Mapping[str, Any]
    value: object
    question: object = None
    """The digest of the very question, where the entry names it."""

    def __str__(self) -> str:
        place = [str(self.entry[name]) for name in ("protocol", "route") if self.entry.get(name)]
        about = self.asked.get("corruption") or {key: value for key, value in self.asked.items() if value is not None}
        said = [f"{key} {value}" for key, value in about.items()]
        return " ".join([*place, self.part, *([str(self.attack)] if self.attack else []), *said])


def points_along(entry: Mapping[str, Any], part: str, key: str) -> Iterator[Point]:
    """Yield the accuracies of an attack at growing values of ``key`` in an entry's specification, from 0 (clean) on."""
    asks = entry.get("questions")
    for number, (place, value) in enumerate(pairs(entry.get(key), entry.get("accuracy"))):
        # Nothing is moved at 0.
        asked = {"steps": None, "corruption": None, key: place} if place else {"corruption": None}
        yield Point(part, entry, entry.get("attack") if place else None, asked, value, nth(asks, number))


def shares(journal: Journal, point: Point) -> Iterator[float]:
    """Yield the accuracy under every question that a point may answer, on as many images as it counts.

    One that counts no images may be of any number of them.
    """
    found = [(key, spec) for key, spec in _questions(journal, point) if _fits(spec, point.asked)]
    if not found and "steps" in point.asked:  # the attack's own number of steps stands in its options, or nowhere
        asked = {**point.asked, "steps": None}
        own = (point.asked["steps"], None)
        found = [(key, spec) for key, spec in _questions(journal, point) if _fits(spec, asked) and _steps(spec) in own]
    for key, _ in found:
        known = journal.known(key)
        for images in (range(len(known)), order(known, len(known))):
            yield from _of_first(known, images, point.entry.get("n"))


def order(known: Outcomes, samples: int) -> Sequence[int]:
    """Return the order of chance in which an evaluation with a time limit takes so many images."""
    seed = next(iter(known.values()))[0].seed
    return [int(index) for index in Rng(seed, "evaluate", "order").permutation(samples)]


def _questions(journal: Journal, point: Point) -> Iterator[tuple[Key, Mapping[str, Any]]]:
    for protocol, route, split, attack, digest in journal.places():
        here = (point.entry.get("protocol"), point.entry.get("route"), "test", point.attack)
        if (protocol, route, split, attack) == here:
            if point.question not in (None, digest):
                continue
            text = journal.questions[digest]
            yield Key(protocol, route, split, attack, text), json.loads(text or "{}")


def _fits(said: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    return all(
        _fits(said.get(key) or {}, value) if isinstance(value, Mapping) else said.get(key) == value
        for key, value in asked.items()
    )


def _steps(spec: Mapping[str, Any]) -> object:
    attack = spec.get("attack")
    return attack.get("steps") if isinstance(attack, Mapping) else None


def _of_first(known: Outcomes, images: Sequence[int], n: object) -> Iterator[float]:
    """Yield the accuracy on the first ``n`` images, or on every number of first ones, as far as all are known."""
    if not all(index in known for index in images):
        return
    right = list(accumulate(known[index][-1].correct for index in images))
    counts = [n] if isinstance(n, int) else range(1, len(right) + 1)
    yield from (right[count - 1] / count for count in counts if 0 < count <= len(right))


def pairs(places: object, values: object) -> list[tuple[Any, Any]]:
    """Return places with their values; none where one of the two is no list."""
    return list(zip(places, values, strict=False)) if isinstance(places, list) and isinstance(values, list) else []


def nth(found: object, number: int) -> object:
    """Return an entry of a list, ``None`` where there is none."""
    return found[number] if isinstance(found, list) and number < len(found) else None


def entries(results: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """Return the tables of a list of results.json; none where it is no list."""
    found = results.get(key)
    return [entry for entry in found if isinstance(entry, Mapping)] if isinstance(found, list) else []
