"""The witnesses of an evaluation, a line each beside its journal: what fooled, kept as it was confirmed.

Several processes keep several files, as they keep journals: who reads takes all of a folder together. Each line carries
a digest of itself and of all above it, so that nothing can be changed, left out or put in between without a word.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustcl.disk import Appender, Limits, read_lines
from robustcl.errors import DataError
from robustcl.evaluate.lines import Chain, QuestionLine, digest_of, entry_of
from robustcl.evaluate.witness import Move

PATTERN = "witnesses*.jsonl"
"""The files of a folder that hold witnesses."""

_LIMITS = Limits(file=1 << 40, line=1 << 26)
_KEYS = ("spec", "index", "member", "grid", "width", "steps")


@dataclass(frozen=True, slots=True, eq=False)
class Witness:
    """What fooled on the image of an index: by which member of an attack, under the question of a digest.

    width, steps: the packed steps of its grid; ``move`` unpacks them.
    """

    question: str
    index: int
    member: str
    grid: int
    width: int
    steps: bytes

    def move(self, size: int) -> Move:
        """Return how it lies to an image of so many values; raises ``ValueError`` where it is of another one."""
        return Move.unpack(self.grid, self.width, self.steps, size)


def beside(journal: Path) -> Path:
    """Return the file of the witnesses of a journal: that of the whole, of a share, or of a worker."""
    return journal.with_name(journal.name.replace("journal", "witnesses", 1))


class WitnessFile:
    """Witnesses appended to a file; one that is there already stays as it is.

    Raises:
        DataError: the file cannot be read, or a line of it is damaged.
        DiskError: the disk refuses; the file ends with a whole line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened = False
        self._chain, self._questions = Chain(), set[str]()
        self._known: set[tuple[str, int, str]] = set()

    def keep(self, spec: str, member: str, moves: Iterable[tuple[int, Move]]) -> None:
        """Write what a member found under the question of this specification: index of an image -> its move."""
        question = digest_of(spec)
        self.add(spec, [Witness(question, index, member, move.grid, *move.pack()) for index, move in moves])

    def add(self, spec: str, witnesses: Iterable[Witness]) -> None:
        """Write witnesses of the question of this specification."""
        if not self._opened:
            self._open()
        question, entries = digest_of(spec), list[Mapping[str, Any]]()
        if question not in self._questions:
            entries.append({"question": question, "spec": spec})
        for each in witnesses:
            if (question, each.index, each.member) in self._known:
                continue
            self._known.add((question, each.index, each.member))
            steps = base64.b64encode(each.steps).decode()
            values = (question, each.index, each.member, each.grid, each.width, steps)
            entries.append(dict(zip(_KEYS, values, strict=True)))
        if not entries:
            return
        with Appender(self.path) as file:
            file.write(self._chain.write(entry) for entry in entries)
            file.flush()
        self._questions.add(question)

    def _open(self) -> None:
        """Learn what the file holds, and cut off what a killed process has left half written."""
        self._opened, whole = True, 0
        if not (self.path.exists() or self.path.is_symlink()):
            return
        for size, said in _read(self.path, self._chain, torn=True):
            whole = size
            if isinstance(said, QuestionLine):
                self._questions.add(said.question)
            else:
                self._known.add((said.question, said.index, said.member))
        if self.path.stat().st_size > whole:
            with Appender(self.path) as file:
                file.cut(whole)


def read(path: Path) -> Iterator[QuestionLine | Witness]:
    """Yield what the lines of a file say, in their order, each held against all above it.

    Raises:
        DataError: a line that is damaged, cut off, of no question above it, or of an image that has one already.
    """
    asked, seen = set[str](), set[tuple[str, int, str]]()
    for number, (_, said) in enumerate(_read(path, Chain()), 1):
        if isinstance(said, QuestionLine):
            asked.add(said.question)
        elif said.question not in asked:
            raise DataError(f"{path}: line {number} is of a question that stands in no line above it")
        elif (said.question, said.index, said.member) in seen:
            raise DataError(f"{path}: line {number} is a second witness of image {said.index} under {said.member}")
        else:
            seen.add((said.question, said.index, said.member))
        yield said


def _read(path: Path, chain: Chain, torn: bool = False) -> Iterator[tuple[int, QuestionLine | Witness]]:
    """Yield (bytes up to the end of a line, what it says); a ``torn`` last line is passed over where it may be."""
    whole = 0
    for number, line in enumerate(read_lines(path, limits=_LIMITS), 1):
        if not line.endswith(b"\n"):
            if torn:
                return
            raise DataError(f"{path} is cut off in the middle of its line {number}")
        whole += len(line)
        try:
            yield whole, _entry(chain.read(line[:-1]))
        except ValueError as error:
            raise DataError(f"{path}: line {number} is damaged: {error}") from None


def _entry(entry: Mapping[str, Any]) -> QuestionLine | Witness:
    if "question" in entry:
        said = entry_of(entry)
        assert isinstance(said, QuestionLine)
        return said
    if tuple(entry) != _KEYS:
        raise ValueError("it is neither a question nor a witness")
    kinds: tuple[type, ...] = (str, int, str, int, int, str)
    if any(type(entry[name]) is not kind for name, kind in zip(_KEYS, kinds, strict=True)) or entry["index"] < 0:
        raise ValueError("one of its values is of another kind than a witness's")
    try:
        steps = base64.b64decode(entry["steps"], validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("its steps are no base64") from None
    return Witness(entry["spec"], entry["index"], entry["member"], entry["grid"], entry["width"], steps)
