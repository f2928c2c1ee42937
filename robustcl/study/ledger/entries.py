"""The ledger: every claim of the installed studies, and what finished ones have shown of it. No torch is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from robustcl import registry
from robustcl.claims import outcome
from robustcl.claims.grammar import Claim
from robustcl.claims.outcome import ClaimOutcome, Claims
from robustcl.disk import parse_toml
from robustcl.errors import UsageError
from robustcl.recipe.reading import sentence
from robustcl.study.grammar import scaling


@dataclass(frozen=True, slots=True)
class Shown:
    """What a claim came to in one finished study; ``path`` is the directory or file that says so."""

    path: Path
    study: Claims
    outcome: ClaimOutcome


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A claim, whose it is, and what was shown of it: nothing where no study that was named has run it."""

    paper: str
    study: str
    name: str
    says: str
    place: str
    shown: tuple[Shown, ...] = ()


@dataclass(frozen=True, slots=True)
class Ledger:
    """All claims, by paper; ``notes`` say which studies cannot be read, and which outcomes are of other claims."""

    entries: tuple[LedgerEntry, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Installed:
    name: str
    cite: str
    tables: Mapping[str, Any]
    claims: tuple[Claim, ...]


def open_ledger(paths: Sequence[Path], distribution: str | None = None) -> Ledger:
    """Return the claims of the installed studies with what some finished studies say of them.

    ``paths``: directories of studies, or files that were copied from there. Studies that are not installed are listed
    too. ``distribution``: list the studies of this one alone.

    Raises:
        DataError: a directory without claims, or a damaged file.
    """
    notes: list[str] = []
    studies = list(_installed(distribution, notes))
    read = {path.resolve(): (path, outcome.read(path)) for path in paths}
    known = {study.name for study in studies}
    entries = [entry for study in studies for entry in _entries(study, list(read.values()), notes)]
    for path, told in read.values():
        if told.study not in known:
            entries += [LedgerEntry(shorten(told.cite) or told.study, told.study, one.name, one.says, one.place,
                                    (Shown(path, told, one),)) for one in told.claims]  # fmt: skip
    return Ledger(tuple(sorted(entries, key=lambda entry: entry.paper.casefold())), tuple(notes))


def shorten(cite: str) -> str:
    """Return the paper of a source: what stands before its year, and the year; of several sources, that they are."""
    parts = [" ".join(part.split()) for part in cite.split(";")]
    found = [year[0] for part in parts if (year := re.match(r".*?\b(19|20)\d\d\b", part))]
    return found[0] if len(found) == 1 else "Several papers" if found else " ".join(cite.split())


def _installed(distribution: str | None, notes: list[str]) -> Iterator[_Installed]:
    for key, origin in registry.studies().items():
        if distribution not in (None, origin.distribution):
            continue
        where = f"the study {key}"
        try:
            tables = parse_toml(registry.study_text(key), where, error=UsageError)
            yield _Installed(str(tables.get("name", key)), str(tables.get("cite", "")), tables, _claims(tables, where))
        except UsageError as error:
            notes.append(f"{error}: its claims are left out")


def _claims(tables: Mapping[str, Any], where: str) -> tuple[Claim, ...]:
    given = tables.get("claim", [])
    if not isinstance(given, list):
        raise UsageError(f"{where}: claim = {given!r} is not accepted; give [[claim]] tables")
    found = []
    for number, table in enumerate(given, 1):
        named = table.get("name", number) if isinstance(table, dict) else number
        try:
            found.append(Claim.model_validate(table))
        except ValidationError as error:
            raise UsageError(sentence(error, f"{where}: claim.{named}", table, Claim)) from None
    return tuple(found)


def _entries(study: _Installed, read: Sequence[tuple[Path, Claims]], notes: list[str]) -> Iterator[LedgerEntry]:
    shown: dict[str, list[Shown]] = {}
    for path, told in read:
        if told.study != study.name:
            continue
        asked = _asked(study, told)
        for one in told.claims:
            if asked.get(one.name) == one.asked:
                shown.setdefault(one.name, []).append(Shown(path, told, one))
            else:
                notes.append(f"{path}: {study.name}, {one.name} is another claim today; run the study again")
    for claim in study.claims:
        yield LedgerEntry(shorten(study.cite) or study.name, study.name, claim.name, claim.says, claim.place,
                          tuple(shown.get(claim.name, ())))  # fmt: skip


def _asked(study: _Installed, told: Claims) -> dict[str, Any]:
    """Return by what each claim would be decided today, at the data set and the budget of a finished study."""
    where = f"the study {study.name}"
    try:
        tables = scaling.scale(study.tables, told.dataset, told.budget, where)
        return {claim.name: claim.asked() for claim in _claims(tables, where)}
    except UsageError:
        return {}
