"""The shares of several processes: where each keeps its journal, and how they become one."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from robustcl.disk import Appender
from robustcl.errors import UsageError
from robustcl.evaluate.journal import Journal, Key
from robustcl.evaluate.workers import WholeJournal, WorkerJournal

WHOLE = "journal.jsonl"
_SHARE = re.compile(r"journal\.(\d+)-of-(\d+)\.jsonl")


def path(folder: Path, shard: tuple[int, int]) -> Path:
    """Return the journal's path: of the whole, (0, 1), or of one share."""
    number, count = shard
    return folder / (WHOLE if count == 1 else f"journal.{number + 1}-of-{count}.jsonl")


def journal(folder: Path, shard: tuple[int, int], *, worker: bool = False) -> Journal:
    """Return the journal of the whole, of one share, or of a worker.

    A share's and a worker's are there afterwards even if they hold no sample; the whole one takes in what workers know.
    """
    if worker:
        return WorkerJournal(folder, WHOLE)
    file = path(folder, shard)
    if shard[1] == 1:
        return WholeJournal(file)
    Appender(file).close()
    return Journal(file)


def merge(folder: Path) -> tuple[int, int]:
    """Join the shares' journals into the whole one; return how many outcomes came, and how many shares there were.

    What the whole journal knows already stays as it is; the shares' files stay too.
    Raises ``UsageError`` where there are no shares, some are missing, they were cut in different numbers, or one
    question was asked of two models.
    """
    names = sorted(file.name for file in folder.glob("journal.*"))
    found = {match: name for name in names if (match := _SHARE.fullmatch(name))}
    counts = sorted({int(match[2]) for match in found})
    if not counts:
        raise UsageError(f"{folder} holds no shares of an evaluation: make them with --shard 1/4 and so on")
    if len(counts) > 1:
        raise UsageError(
            f"{folder} holds shares of {' and of '.join(map(str, counts))}: remove the files journal.*-of-*.jsonl "
            "of one cut"
        )
    missing = sorted(set(range(1, counts[0] + 1)) - {int(match[1]) for match in found})
    if missing:
        said = ", ".join(f"{number}/{counts[0]}" for number in missing)
        raise UsageError(f"{folder} lacks the share {said}: judge it with --shard {missing[0]}/{counts[0]} first")
    whole, taken = Journal(folder / WHOLE), 0
    shares = [Journal(folder / name) for name in found.values()]
    _check_models([whole, *shares])
    for share in shares:
        for place in share.places():
            protocol, route, split, attack, digest = place
            key = Key(str(protocol), str(route), str(split), attack, share.questions.get(str(digest), ""))
            outcomes = [outcome for member in share.known(key).values() for outcome in member]
            fresh = [o for o in outcomes if all(o.member != old.member for old in whole.known(key).get(o.index, []))]
            whole.append(key, fresh)
            taken += len(fresh)
    return taken, counts[0]


def _check_models(journals: Sequence[Journal]) -> None:
    asked: dict[tuple[object, ...], str] = {}
    for journal in journals:
        for *where, digest in journal.places():
            spec = json.loads(journal.questions.get(str(digest)) or "{}")
            model = spec.pop("model", "")
            first = asked.setdefault((*where, json.dumps(spec, sort_keys=True)), model)
            if first != model:
                raise UsageError(
                    f"{journal.path} is of another model ({model}) than the other shares ({first}): remove it, and "
                    "judge that share again with the same model and weights"
                )
