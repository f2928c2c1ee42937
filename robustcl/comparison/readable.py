"""The comparison for people: Markdown for a terminal and a README, LaTeX for a paper, one HTML page for a browser."""

from __future__ import annotations

from robustcl.comparison.data import records
from robustcl.comparison.grid import grids
from robustcl.comparison.table import Comparison
from robustcl.report import latex as papers
from robustcl.report import marked
from robustcl.report.grid import MISSING


def markdown(comparison: Comparison, room: int | None = None) -> str:
    """Return the tables, aligned for a terminal of ``room`` letters or for a file, and the notes as a list."""
    parts = [marked.markdown(grid, room) for grid in grids(comparison)]
    return "\n\n".join([*parts, "\n".join(f"- {marked.one_line(note)}" for note in comparison.notes)]) + "\n"


def latex(comparison: Comparison) -> str:
    """Return booktabs tables; the notes stand below the first."""
    return papers.document(grids(comparison))


def html(comparison: Comparison) -> str:
    """Return one self-contained page; the records of the CSV format stand in its element with id "results"."""
    from robustcl.report.page import environment

    template = environment().get_template("compare.html.j2")
    return template.render(
        methods=[group.label for group in comparison.groups],
        grids=grids(comparison),
        notes=comparison.notes,
        dash=MISSING,
        rows=records(comparison),
    )
