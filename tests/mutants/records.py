"""What became of each mutant, kept as it comes, with the committed list of those that change nothing that matters."""

from __future__ import annotations

import dataclasses
import json
import random
import re
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.mutants import tree
from tests.mutants.edits import Edit
from tests.mutants.trial import Outcome

_REASONS = Path(__file__).with_name("equivalent.toml")


class Records:
    """The outcomes by the mutants' keys; a line is added for each, so that a run can be taken up again."""

    def __init__(self) -> None:
        self.path = tree.KEPT / "outcomes.jsonl"
        self.outcomes: dict[str, Outcome] = {}
        if self.path.exists():
            for line in self.path.read_text().splitlines():
                fields = json.loads(line)
                key = fields.pop("key")
                self.outcomes[key] = Outcome(**fields)

    def add(self, edit: Edit, outcome: Outcome) -> None:
        """Keep an outcome; the last of a key counts."""
        self.outcomes[edit.key] = outcome
        with self.path.open("a") as file:
            file.write(json.dumps({"key": edit.key, **dataclasses.asdict(outcome)}) + "\n")


class Reasons:
    """Why some mutants need no test, by key or by a pattern of keys (equivalent.toml)."""

    def __init__(self) -> None:
        entries = tomllib.loads(_REASONS.read_text()).get("mutant", []) if _REASONS.exists() else []
        self._keys = {entry["key"]: entry["reason"] for entry in entries if "key" in entry}
        self._patterns = [(re.compile(entry["match"]), entry["reason"]) for entry in entries if "match" in entry]

    def why(self, edit: Edit) -> str | None:
        """Return why this mutant is equivalent, or None."""
        found = (reason for pattern, reason in self._patterns if pattern.search(edit.key))
        return self._keys.get(edit.key) or next(found, None)


def draw(edits: list[Edit], size: int, seed: int, texts: Mapping[str, str]) -> list[Edit]:
    """Return a seeded sample that takes the operators in turn, so that no frequent one fills it.

    ``texts``: those of the files, by path; changes that do not compile are passed over.
    """
    held: dict[str, list[Edit]] = defaultdict(list)
    for edit in edits:
        held[edit.operator].append(edit)
    order = random.Random(seed)
    queues = [held[operator] for operator in sorted(held)]
    for queue in queues:
        order.shuffle(queue)
    taken: list[Edit] = []
    while len(taken) < size and any(queues):
        drawn = [queue.pop() for queue in queues if queue]
        taken += [edit for edit in drawn if edit.compiles(texts[edit.path])]
    return taken[:size]


def report(drawn: dict[str, list[Edit]], records: Records, reasons: Reasons) -> Iterator[str]:
    """Yield the lines of the report: each survivor, then the counts by area."""
    rows = []
    for area, edits in drawn.items():
        count: Counter[str] = Counter()
        for edit in edits:
            state = state_of(edit, records, reasons)
            count[state] += 1
            if state in {"survived", "unreached"}:
                yield f"{state}: {edit.shown} {edit.key}"
        rows.append((area, count))
    yield f"{'area':12} {'killed':>7} {'survived':>9} {'equivalent':>11} {'untried':>8} {'share':>7}"
    for area, count in [*rows, ("all", sum((c for _, c in rows), Counter()))]:
        killed, lived = count["killed"] + count["hung"], count["survived"] + count["unreached"]
        share = f"{killed / max(1, killed + lived):.1%}"
        yield f"{area:12} {killed:7} {lived:9} {count['equivalent']:11} {count['untried']:8} {share:>7}"


def state_of(edit: Edit, records: Records, reasons: Reasons) -> str:
    """Return killed, hung, survived, unreached, equivalent or untried."""
    outcome = records.outcomes.get(edit.key)
    if outcome is not None and outcome.state in {"killed", "hung"}:
        return outcome.state
    if reasons.why(edit) is not None:
        return "equivalent"
    return outcome.state if outcome is not None else "untried"
