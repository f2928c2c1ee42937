"""One line per sample and attack, appended as it is known; an evaluation that was cut off computes nothing twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from robustcl.disk import Appender, Limits, read_lines
from robustcl.errors import DataError, UsageError
from robustcl.evaluate.lines import CLEAN, Chain, Outcome, Place, QuestionLine, digest_of, entry_of, written
from robustcl.evaluate.witnesses import WitnessFile, beside

__all__ = ["CLEAN", "Journal", "Key", "Outcome", "fingerprint", "model_hash"]

Blocks = Generator[tuple[Tensor, Sequence[str]], None, None]
"""Yields the indices (R,) of samples that are judged together, and the members of the attack that they are sent through
now; it is closed by who is done with it."""


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
        return digest_of(self.spec)

    @property
    def place(self) -> Place:
        """The question as the journal's lines carry it."""
        return (self.protocol, self.route, self.split, self.attack, self.digest)


class Journal:
    """Outcomes kept in a file of JSON lines; a half-written last line is passed over, and cut off by who writes more.

    Each question is written out once, with its whole ``spec``; the lines of its samples name it by a digest. A sample
    has one line for each member of the attack that it met, in order; the last one is what became of it. Every line
    carries a digest of itself and of all above it; those of earlier versions have none.

    Raises:
        DataError: the file cannot be read, or a line of it is damaged: which, and what is wrong with it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.questions: dict[str, str] = {}
        """digest -> spec."""
        self._known: dict[Place, dict[int, list[Outcome]]] = {}
        self._chain, self._whole, self._lines = Chain(), 0, 0
        self._torn = False
        if path.exists() or path.is_symlink():
            self.follow()

    @cached_property
    def witnesses(self) -> WitnessFile:
        """What fooled, in a file of its own beside this one."""
        return WitnessFile(beside(self.path))

    def known(self, key: Key) -> dict[int, list[Outcome]]:
        """Return what is known of each sample under one question: its outcomes in the order of the members."""
        return self._known.setdefault(key.place, {})

    def places(self) -> Sequence[Place]:
        """Return every question that has an answer: protocol, route, split, attack, digest."""
        return [place for place, outcomes in self._known.items() if outcomes]

    def blocks(self, key: Key, members: Sequence[str], blocks: Sequence[Tensor], size: int) -> Blocks:
        """Yield the blocks (R,) of a question, cut at ``size``, in the order in which this process judges them."""
        for block in blocks:
            yield block, members

    def finished(self, key: Key, members: Sequence[str]) -> dict[int, Outcome]:
        """Return the last outcome of each sample that was fooled, or met all ``members`` of the attack."""
        final = ([CLEAN, *members])[-1]
        last = {index: outcomes[-1] for index, outcomes in self.known(key).items()}
        return {index: outcome for index, outcome in last.items() if not outcome.correct or outcome.member == final}

    def progress(self, key: Key, members: Sequence[str], index: Tensor) -> float:
        """Return how many of the samples ``index`` (R,) are finished; one that stands counts by the members it met."""
        known, share = self.known(key), {name: (n + 1) / len(members) for n, name in enumerate(members)}
        last = [outcomes[-1] for i in index.tolist() if (outcomes := known.get(i))]
        return sum(1.0 if not each.correct or not members else share.get(each.member, 0.0) for each in last)

    def append(self, key: Key, outcomes: Iterable[Outcome]) -> None:
        """Write outcomes and flush them to the disk; those of a member that is known, or of a fooled sample, are not.

        Raises:
            DiskError: the disk refuses; the file ends with a whole line.
        """
        known, fresh = self.known(key), list[Outcome]()
        last: dict[int, list[Outcome]] = {}
        for outcome in outcomes:
            before = last.setdefault(outcome.index, list(known.get(outcome.index, ())))
            if not before or (before[-1].correct and all(outcome.member != old.member for old in before)):
                before.append(outcome)
                fresh.append(outcome)
        entries: list[dict[str, object]] = []
        if key.digest not in self.questions:
            entries.append({"question": key.digest, "spec": key.spec})
        entries += [written(key.place, outcome) for outcome in fresh]
        with Appender(self.path) as file:
            if self._torn:
                file.cut(self._whole)
                self._torn = False
            file.write(self._chain.write(entry) for entry in entries)
            self._whole = file.flush()
        self.questions[key.digest] = key.spec
        for outcome in fresh:
            known.setdefault(outcome.index, []).append(outcome)

    def models(self) -> set[str]:
        """Return the hashes of the models that were asked about."""
        found = (json.loads(spec).get("model") for spec in self.questions.values() if spec)
        return {str(model) for model in found if model is not None}

    def require_model(self, model: str) -> None:
        """Refuse to go on where a question was asked of another model than the one of this hash."""
        for other in sorted(self.models() - {model}):
            raise UsageError(
                f"{self.path} is the journal of another model ({other}, this one is {model}; weights, architecture and "
                "the code of its classes count): choose another --out, or judge the model that it belongs to"
            )

    def follow(self) -> None:
        """Read what has been written since this was read last, by another process; raises as the journal itself."""
        for line in read_lines(self.path, limits=_LIMITS, start=self._whole):
            # Somebody who only reads must not write: another process may be in the middle of that line.
            self._torn = not line.endswith(b"\n")
            if self._torn:
                break
            self._whole += len(line)
            self._lines += 1
            if not line.strip():
                continue
            try:
                self._take(self._chain.read(line.rstrip(b"\r\n")))
            except ValueError as error:
                raise DataError(
                    f"{self.path}: line {self._lines} is damaged: {error}; move the file away to judge anew"
                ) from None

    def _take(self, entry: dict[str, object]) -> None:
        said = entry_of(entry)
        if isinstance(said, QuestionLine):
            self.questions[said.question] = said.spec
            return
        if said.place[-1] not in self.questions:
            raise ValueError("its question stands in no line above it")
        outcome = said.outcome
        before = self._known.setdefault(said.place, {}).setdefault(outcome.index, [])
        if any(old.member == outcome.member for old in before):
            raise ValueError(f"sample {outcome.index} has an outcome under that member already")
        if before and (outcome.member == CLEAN or not before[-1].correct):
            raise ValueError(f"sample {outcome.index} was fooled or attacked already, by the lines above it")
        if before and before[0].label != outcome.label:
            raise ValueError(f"sample {outcome.index} has another label than above")
        before.append(outcome)


_LIMITS = Limits(file=1 << 34, line=1 << 20)
"""A journal of ImageNet under an ensemble has a few gigabytes; a specification has some kilobytes."""


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
