"""What must hold after a command has met a mutated run, and the loop that mutates, calls, checks and puts back."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz import readers
from tests.fuzz.call import Ended, ask, call
from tests.fuzz.commands import RESUME, TABLE, Command, drawn, is_read_cheaply
from tests.fuzz.mutate import Place
from tests.fuzz.mutators import mutate
from tests.fuzz.tree import Entry, Tree

CODES = (0, 1, 2, 3, 130)
EVIDENCE = re.compile(r"journal[^/]*\.jsonl$|\.safetensors$|\.pt$")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_LONGEST = 3000


@dataclass
class Count:
    """How many mutations were tried, and how the commands ended."""

    tried: int = 0
    costly: int = 0
    codes: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Failure:
    """One that does not hold: which mutation of which file, which command, and what."""

    number: int
    mutation: str
    command: str
    what: str

    def __str__(self) -> str:
        return f"#{self.number} {self.mutation}\n  $ {self.command}\n  {self.what}"


class Fuzz:
    """Mutates the run ``a`` of a workspace, which is the working folder.

    costly: the share of mutations that meet a command which trains, attacks or draws; the others meet a cheap one, or a
    reader by itself.
    """

    def __init__(self, workspace: Path, costly: float) -> None:
        self.place, self.costly = workspace, costly
        self.run, self.around = Tree(workspace / "a"), Tree(workspace, skip=("a",))
        self.kept, self.kept_around = self.run.look(), self.around.look()
        self.files = sorted(name for name, (kind, _, _) in self.kept.items() if kind == "file" and _is_read(name))
        self.cheap = [name for name in self.files if is_read_cheaply(name) or readers.drawn(random.Random(0), name)]
        self.numbers = _numbers(call(TABLE))

    @staticmethod
    def stream(seed: int, number: int) -> random.Random:
        """Return the random numbers of one mutation: the same for each number of a seed, every time."""
        return random.Random(f"{seed} {number}")

    def one(self, number: int, rng: random.Random, count: Count) -> Iterator[Failure]:
        """Mutate once, let one command or reader meet it, check, and put back."""
        costly = rng.random() < self.costly
        name = _draw(rng, self.files if costly else self.cheap)
        at = Place(
            self.place / "a", self.place / "a" / name, self.place / "b" / name, self.place / "outside" / "file.txt"
        )
        try:
            yield from self._met(number, rng, count, costly, at)
        finally:
            self.run.restore(self.kept)
            self.around.restore(self.kept_around)

    def _met(self, number: int, rng: random.Random, count: Count, costly: bool, at: Place) -> Iterator[Failure]:
        name = str(at.file.relative_to(at.run))
        how, state = mutate(rng, at)
        reader = None if costly or (is_read_cheaply(name) and rng.random() < 0.7) else readers.drawn(rng, name)
        if reader is not None:
            command, said, ended, before = None, reader.__name__, ask(reader, at.run, at.file), {}
        else:
            command = RESUME if state and costly else drawn(rng, name, costly or not is_read_cheaply(name))
            before = self.run.look()
            said, ended = f"robustcl {' '.join(command.arguments)}", call(command.arguments)
        count.tried += 1
        count.costly += command is not None and command.costly
        count.codes[ended.code] += 1
        wrong = list(_said(ended))
        if command is not None:  # a reader by itself writes nothing
            wrong += [*self._numbers_hold(command, ended), *self._kept(command, before, ended)]
        for what in wrong:
            yield Failure(number, how, said, what)

    def _kept(self, command: Command, before: dict[str, Entry], ended: Ended) -> Iterator[str]:
        after = self.run.look()
        changed = [name for name in {*before, *after} if before.get(name) != after.get(name) and (
            (before.get(name) or after[name])[0] != "folder" or name not in before or name not in after)]  # fmt: skip
        for name in sorted(changed):
            if not any(name.startswith(prefix) for prefix in command.writes):
                yield f"changed a/{name}"
            elif EVIDENCE.search(name) and name in before and ended.code != 0 and not _grew(before, after, name):
                yield f"damaged the evidence a/{name}"
        around = self.around.look()
        for name in sorted({*around, *self.kept_around}):
            if around.get(name) != self.kept_around.get(name) and not any(
                name == prefix or name.startswith(f"{prefix}/") for prefix in command.beside
            ):
                yield f"changed {name}, outside of the run"

    def _numbers_hold(self, command: Command, ended: Ended) -> Iterator[str]:
        """A number that is told is the one of before, or said to be held against nothing."""
        if ended.code == 0 and command.arguments == TABLE:
            told = _numbers(ended)
            for key, value in told.items():
                if key in self.numbers and value != self.numbers[key] and "not held against" not in ended.output:
                    yield f"{key} is told as {value}, and was {self.numbers[key]}"


def _numbers(ended: Ended) -> dict[tuple[str, ...], float | None]:
    assert ended.fault is None, ended.fault
    rows = json.loads(ended.output)["rows"]
    names = ("method", "protocol", "stage", "encoder", "route", "split", "metric", "settings")
    return {tuple(str(row[name]) for name in names): row["mean"] for row in rows}


def _said(ended: Ended) -> Iterator[str]:
    if ended.fault is not None:
        yield ended.fault
        return
    if ended.code not in CODES:
        yield f"exit code {ended.code}"
    if (found := _CONTROL.search(ended.output)) is not None:
        yield f"prints the control character {found[0]!r}"
    sentence = ended.sentence
    if sentence is not None:
        if not sentence.strip() or "\n" in sentence.strip() or _CONTROL.search(sentence):
            yield f"is no sentence: {sentence[:300]!r}"
        if len(sentence) > _LONGEST:
            yield f"is a sentence of {len(sentence)} letters: {sentence[:300]!r}"


def _is_read(name: str) -> bool:
    """Leave out what nothing reads again: pictures, events, cards."""
    return (
        not name.startswith("tensorboard") and not name.endswith((".html", "README.md")) and "/.lock" not in f"/{name}"
    )


def _draw(rng: random.Random, files: list[str]) -> str:
    """Draw a file; the results and the journal oftener than checkpoints."""
    weights = [_WEIGHTS.get(name, 2) for name in files]
    return rng.choices(files, weights)[0]


_WEIGHTS = {"results.json": 60, "journal.jsonl": 40, "recipe.lock.toml": 16, "metrics.jsonl": 6, "run.json": 6,
            "representation.json": 6, "journal.1-of-2.jsonl": 6}  # fmt: skip


def _grew(before: dict[str, Entry], after: dict[str, Entry], name: str) -> bool:
    return name in after and after[name][2].startswith(before[name][2].rpartition(b"\n")[0])
