"""Workers that judge together: each takes the next block by a lease, and keeps a journal of its own beside the whole.

A lease is of one member of an attack on one block, for a block of robust images takes a hundred times as long as one of
fooled ones: who has nothing left to take waits for a piece of a block, never for a whole one. A piece is done where
somebody's journal holds its outcomes: nothing else is remembered, so that a worker that is killed costs the piece that
it was at. Who lost a lease and judges on does no harm, for a verdict depends on nobody's share.
"""

from __future__ import annotations

import functools
import heapq
import json
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from robustcl.disk import Appender, Leases, read_text, write_atomically
from robustcl.errors import UsageError
from robustcl.evaluate.journal import CLEAN, Blocks, Journal, Key, Outcome
from robustcl.evaluate.lines import digest_of

PATIENCE, BEAT, PAUSE = 60.0, 5.0, 1.0
"""Seconds: until a silent worker is taken for dead, between its signs of life, and between two looks at the others."""

ALONE, CONCLUDE = "alone", "conclude"
"""Leases of an evaluation: of what workers do one at a time, and of who makes the results."""

FOLDER = ".workers"
"""Below an evaluation: what its workers leave for each other."""
_OF_WORKER = "journal.worker-*.jsonl"


def leases(folder: Path, *below: str) -> Leases:
    """Return the leases that the workers of an evaluation in ``folder`` take, or those of one of its questions."""
    return Leases(folder.joinpath(FOLDER, *below), PATIENCE, BEAT)


class WorkerJournal(Journal):
    """One worker's journal, new for each process; it knows, but does not write, what the others have finished.

    Raises:
        UsageError: on a question of which another model, or blocks of another size, stand in the folder.
    """

    def __init__(self, folder: Path, whole: str) -> None:
        super().__init__(folder / _OF_WORKER.replace("*", secrets.token_hex(8)))
        self._folder, self._others = folder, Others(folder, whole, self.path)
        Appender(self.path).close()

    def blocks(self, key: Key, members: Sequence[str], blocks: Sequence[Tensor], size: int) -> Blocks:
        """Yield blocks that nobody has done, with the next member that each has to meet, while its lease is ours.

        First come those that have met the fewest, and of these the ones of which most stands, so that what is left for
        the end is short. Ends when all of them are done.
        """
        place = digest_of(json.dumps(key.place))
        self._others.look(key)
        with leases(self._folder, place) as held:
            self._agree(self._folder / FOLDER / place, size)
            waiting = [_Ahead(0, -len(block), number) for number, block in enumerate(blocks)]
            taken = list[_Ahead]()
            while waiting or taken:
                if not waiting:
                    time.sleep(PAUSE)
                    self._others.look(key)
                    waiting, taken = taken, []
                told = heapq.heappop(waiting)
                block = blocks[told.number]
                if (ahead := self._ahead(key, members, block, told.number)) is None:
                    continue
                if ahead != told:  # further on than was known here: others may come before it now
                    heapq.heappush(waiting, ahead)
                    continue
                name = f"{int(block[0])}-{int(block[-1])}"
                if not held.take(name):
                    taken.append(ahead)
                    continue
                try:
                    self._others.look(key)  # whoever held it before may have gone on with it since
                    if self._ahead(key, members, block, told.number) == ahead:
                        self._adopt(key, block)
                        yield block, members[ahead.met : ahead.met + 1]
                finally:
                    held.release(name)
                waiting = [*waiting, ahead, *taken]
                heapq.heapify(waiting)
                taken = []

    def _ahead(self, key: Key, members: Sequence[str], block: Tensor, number: int) -> _Ahead | None:
        """Return what a block has ahead of it, as far as anybody has told; ``None`` where all of it is known.

        What others know of a block that is done is known here from then on.
        """
        known, final = self.known(key), [CLEAN, *members][-1]
        found = {i: self._others.outcomes(key, i, known.get(i, ())) for i in block.tolist()}
        standing = [of[-1].member if of else "" for of in found.values() if not of or of[-1].correct]
        if all(member == final for member in standing):
            known.update(found)
            return None
        met = [members.index(member) + 1 if member in members else 0 for member in standing]
        return _Ahead(min(met), -met.count(min(met)), number)

    def _adopt(self, key: Key, block: Tensor) -> None:
        """Write what others know of a block, so that this journal says of each sample all that came before."""
        known = self.known(key)
        self.append(key, [line for i in block.tolist() for line in self._others.outcomes(key, i, known.get(i, ()))])

    def _agree(self, folder: Path, size: int) -> None:
        """Refuse blocks of another size than those that workers have begun this question with."""
        file = folder / "block"
        if not file.exists():
            write_atomically(file, f"{size}\n")
        if (begun := read_text(file).strip()) != str(size):
            raise UsageError(
                f"{self._folder}: workers judge blocks of {begun} images there, and this one would judge {size}: "
                f"give the same --block, or remove {folder.parent} when no worker is left"
            )


class _Ahead(NamedTuple):
    """What a block has ahead of it: it has met so many members; so many samples stand, below 0; its number."""

    met: int
    standing: int
    number: int


class WholeJournal(Journal):
    """The journal of a whole evaluation: what workers have judged is written into it as one process would have done.

    Raises:
        UsageError: on a question of which workers have judged another model, or on which two of them contradict.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._others = Others(path.parent, None, path)

    def blocks(self, key: Key, members: Sequence[str], blocks: Sequence[Tensor], size: int) -> Blocks:
        """Yield every block, after the workers' outcomes of it are written: member after member, as they were met."""
        self._others.look(key)
        for block in blocks:
            known = self.known(key)
            found = [self._others.outcomes(key, index, known.get(index, ())) for index in block.tolist()]
            for name in [CLEAN, *members]:
                lines = [line for sample in found for line in sample if line.member == name]
                if lines:
                    self.append(key, lines)
            yield block, members


class Others:
    """What the journals of other workers say, read on as they grow; ``whole`` names one that is read beside them."""

    def __init__(self, folder: Path, whole: str | None, own: Path) -> None:
        self._folder, self._whole, self._own = folder, whole, own
        self._journals: dict[Path, Journal] = {}

    def look(self, key: Key) -> None:
        """Read what has come since; refuse another model under a question that is otherwise the same."""
        names = [*sorted(self._folder.glob(_OF_WORKER)), *([self._folder / self._whole] if self._whole else [])]
        for path in names:
            if path == self._own or not path.is_file():
                continue
            if path in self._journals:
                self._journals[path].follow()  # no look at its size: a network disk may tell an old one until it opens
            else:
                self._journals[path] = Journal(path)
            if path.name != self._whole:
                _check_model(self._journals[path], key)

    def outcomes(self, key: Key, index: int, own: Sequence[Outcome]) -> list[Outcome]:
        """Return the longest that anybody knows of a sample; raises ``UsageError`` where two contradict each other."""
        found, where = list(own), self._own
        for path, journal in self._journals.items():
            told = journal.known(key).get(index, [])
            for mine, other in zip(found, told, strict=False):
                if _verdict(mine) != _verdict(other):
                    raise UsageError(
                        f"{where} and {path} contradict each other on sample {index} under {key.attack or 'clean'}, "
                        f"{mine.member}: class {mine.prediction} and class {other.prediction}; weights, software or "
                        "machines differ: remove the one that is wrong, and judge again"
                    )
            if len(told) > len(found):
                found, where = list(told), path
        return found


def _verdict(outcome: Outcome) -> tuple[object, ...]:
    return outcome.member, outcome.label, outcome.prediction, outcome.correct


def _check_model(journal: Journal, key: Key) -> None:
    asked, model = _apart(key.spec)
    for *where, digest in journal.places():
        if tuple(where) != key.place[:-1] or digest == key.digest:
            continue
        other, of = _apart(journal.questions[str(digest)])
        if other == asked and of != model:
            raise UsageError(
                f"{journal.path} is of another model ({of}) than this worker's ({model}): judge with the same model "
                "and weights, or remove it"
            )


@functools.lru_cache(maxsize=4096)
def _apart(spec: str) -> tuple[str, str]:
    """Return a question without its model, and the model."""
    found = json.loads(spec or "{}")
    model = str(found.pop("model", "")) if isinstance(found, dict) else ""
    return json.dumps(found, sort_keys=True), model


def wait_for_turn(held: Leases, name: str) -> bool:
    """Take a lease that nobody holds, or whose holder has died; say False where its holder has given it back."""
    while not held.take(name):
        time.sleep(PAUSE)
        if not held.holder(name):
            return False
    return True
