"""A finished study as a value: its numbers, its tables as texts, and what else is to be said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustcl.claims import telling
from robustcl.claims.outcome import ClaimOutcome
from robustcl.report import marked
from robustcl.report.grid import Grid
from robustcl.study.grammar.study import Study
from robustcl.study.tables import table
from robustcl.study.tables.table import StudyLine
from robustcl.study.tables.terms import RowTerms


@dataclass(frozen=True, slots=True)
class FinishedStudy:
    """A finished study: its table, what else is to be said, and where everything is."""

    path: Path
    study: Study
    lines: tuple[StudyLine, ...]
    grids: tuple[Grid, ...]
    notes: tuple[str, ...]
    failed: Mapping[str, str]
    row_terms: tuple[RowTerms, ...] = ()
    claims: tuple[ClaimOutcome, ...] = ()

    def markdown(self, room: int | None = None) -> str:
        """Return the tables, the first without its caption, the claims, and below them what differs from the paper.

        ``room``: letters of a line of the terminal that shows it; as a file has it where not given.
        """
        kinds = (marked.markdown if place else marked.table for place in range(len(self.grids)))
        parts = [kind(grid, room) for kind, grid in zip(kinds, self.grids, strict=True)]
        parts += [telling.table(self.claims, room)] if self.claims else []
        return "\n\n".join([*parts, "\n".join(f"- {marked.one_line(note)}" for note in self.notes)])

    def records(self) -> list[dict[str, Any]]:
        """Return one record for each number."""
        return table.records(self.lines)
