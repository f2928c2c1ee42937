"""What claims came to, as tables: for the pages of a study."""

from __future__ import annotations

from collections.abc import Sequence

from robustcl.claims.outcome import ClaimOutcome
from robustcl.terminal.markdown import escape_cell, render_table

HEAD = ("claim", "outcome", "place", "measured", "by", "p")


def table(outcomes: Sequence[ClaimOutcome], room: int | None = None) -> str:
    """Return the claims of one study as a Markdown table, with how they were decided below it.

    ``room``: letters of a line of a terminal, on which a table that is wider is a list.
    """
    body = [(one.says, one.status, one.place, one.measured(), one.tested_over(), one.shown_p()) for one in outcomes]
    rows = [[escape_cell(cell) for cell in row] for row in [HEAD, *body]]
    made = render_table(rows, words=len(HEAD))
    if room is not None and len(made.partition("\n")[0]) > room:
        made = "\n".join(_entry(row) for row in rows[1:])
    return f"{made}\n\n{HOW}"


def _entry(row: Sequence[str]) -> str:
    says, *cells = row
    told = (f"  - {head}: {cell}" for head, cell in zip(HEAD[1:], cells, strict=True) if cell)
    return "\n".join([f"- {says}", *told])


HOW = (
    "A claim is seen, or contradicted, where its two-sided p lies below 0.05 after Holm's correction over the claims "
    "of the study. It is tested over seeds, row against row of the same seed; with one seed, over the images: "
    "then it speaks of the trained networks, and not of the methods that trained them."
)
