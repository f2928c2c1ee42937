"""The ledger of claims in words: for a terminal, in Markdown, and as records for tools."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

from robustcl.claims.telling import HOW
from robustcl.study.ledger.entries import Ledger, LedgerEntry, Shown
from robustcl.terminal.markdown import escape_cell

UNTRIED = "not run"


def text(ledger: Ledger) -> str:
    """Return the ledger for a terminal: a paragraph for each paper, the claim below its name and outcome."""
    lines = []
    for paper, entries in itertools.groupby(ledger.entries, key=lambda entry: entry.paper):
        lines.append(f"{paper}\n")
        for entry in entries:
            lines += [f"  {entry.study}, {entry.name} ({entry.place})", f"    {entry.says}", *_outcomes(entry)]
        lines.append("")
    return "\n".join([*lines, count(ledger), *ledger.notes])


def markdown(ledger: Ledger) -> str:
    """Return the ledger in Markdown: for each paper a table of what was run, and a list of what was not."""
    parts = [count(ledger), HOW]
    for paper, found in itertools.groupby(ledger.entries, key=lambda entry: entry.paper):
        entries = list(found)
        parts.append(f"## {escape_cell(paper)}")
        rows = [row for entry in entries for row in _rows(entry)]
        if rows:
            table = [["claim", "outcome", "measured"], ["---"] * 3, *rows]
            parts.append("\n".join(f"| {' | '.join(row)} |" for row in table))
        untried = [f"- {escape_cell(f'{entry.says} {_source(entry)}')}" for entry in entries if not entry.shown]
        if untried:
            parts += [f"{UNTRIED.capitalize()}:", "\n".join(untried)]
    return "\n\n".join([*parts, *(f"- {escape_cell(note)}" for note in ledger.notes)]) + "\n"


def records(ledger: Ledger) -> list[dict[str, Any]]:
    """Return a record for each claim, with all that was shown of it."""
    return [
        {"paper": entry.paper, "study": entry.study, "name": entry.name, "says": entry.says, "place": entry.place,
         "shown": [{"path": str(one.path), **one.study.model_dump(mode="json", by_alias=True, exclude={"claims"}),
                    "outcome": one.outcome.model_dump(mode="json")} for one in entry.shown]}
        for entry in ledger.entries
    ]  # fmt: skip


def count(ledger: Ledger) -> str:
    """Return how many claims there are, and what came of those that were run."""
    found = Counter(one.outcome.status for entry in ledger.entries for one in entry.shown)
    untried = sum(not entry.shown for entry in ledger.entries)
    told = [f"{number} {status}" for status, number in found.most_common()]
    return f"{len(ledger.entries)} claims: {', '.join([*told, f'{untried} {UNTRIED}'])}"


def size(one: Shown) -> str:
    """Return at which size and under which terms a claim was tested."""
    study = one.study
    terms = [f"{study.data}, {study.budget}, {one.outcome.seeds} {'seed' if one.outcome.seeds == 1 else 'seeds'}"]
    terms += [f"equal {study.equal}"] if study.equal else []
    terms += ["one optimiser"] if study.optimizer == "shared" else []
    terms += [f"first {study.samples} images"] if study.samples is not None else []
    return ", ".join([*terms, *study.changed])


def _outcomes(entry: LedgerEntry) -> Iterator[str]:
    if not entry.shown:
        yield f"    {UNTRIED}"
    for one in entry.shown:
        p = f", p {one.outcome.shown_p()}" if one.outcome.shown_p() else ""
        yield f"    {one.outcome.status}: {size(one)}{p}; {one.outcome.measured()} [{one.path}]"


def _rows(entry: LedgerEntry) -> Iterator[list[str]]:
    for one in entry.shown:
        by = f", p {one.outcome.shown_p()} by {one.outcome.tested_over()}" if one.outcome.shown_p() else ""
        row = [f"{entry.says} {_source(entry)}", f"{one.outcome.status}{by}", f"{size(one)}: {one.outcome.measured()}"]
        yield [escape_cell(cell) for cell in row]


def _source(entry: LedgerEntry) -> str:
    return f"({entry.place}; study {entry.study})"
