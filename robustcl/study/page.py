"""The files of a finished study: study.md, study.csv, study.html, and its figures as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from robustcl.claims import telling
from robustcl.claims.outcome import ClaimOutcome
from robustcl.report.page import environment, store
from robustcl.report.tables import inert
from robustcl.study import table
from robustcl.study.figure import DrawnFigure
from robustcl.study.grammar import Study
from robustcl.study.table import StudyLine
from robustcl.study.terms import HEAD, RowTerms
from robustcl.terminal.markdown import render_table


def markdown(
    study: Study,
    lines: Sequence[StudyLine],
    data: str,
    notes: Sequence[str],
    terms: Sequence[RowTerms] = (),
    claims: Sequence[ClaimOutcome] = (),
) -> str:
    """Return the table, what its rows took, the claims, and below them what differs from the paper."""
    corner = study.axis[0].name if _alone(study) else ""
    parts = [table.markdown(lines, data, corner)] if study.column else []
    if terms:
        parts.append(render_table([[corner, *HEAD], *([one.label, *one.texts()] for one in terms)]))
    parts += [telling.table(claims)] if claims else []
    parts.append("\n".join(f"- {note}" for note in notes))
    return "\n\n".join(parts)


def write(
    study: Study,
    lines: Sequence[StudyLine],
    data: str,
    notes: Sequence[str],
    drawings: Sequence[DrawnFigure],
    folder: Path,
    terms: Sequence[RowTerms] = (),
    claims: Sequence[ClaimOutcome] = (),
) -> None:
    """Write every file whole or not at all. Raises ``UsageError`` where the place cannot be written."""
    text = [f"# {study.name}", study.about.strip(), study.cite, markdown(study, lines, data, notes, terms, claims)]
    for number, drawing in enumerate(drawings, 1):
        store(f"{drawing.svg}\n", folder / f"figure-{number}.svg")
        text.append(f"![{drawing.caption}](figure-{number}.svg)\n\n{drawing.caption}")
    store("\n\n".join(part for part in text if part) + "\n", folder / "study.md")
    records = table.records(lines)
    plain = [{key: inert(value) for key, value in record.items()} for record in records]
    store(pd.DataFrame(plain).to_csv(index=False), folder / "study.csv")
    html = environment().get_template("study.html.j2").render(
        study=study, lines=lines, data=data, notes=notes, drawings=drawings, rows=records,
        terms=terms, head=HEAD, claims=claims, how=telling.HOW,
        reported={cell.column for line in lines for cell in line.cells if cell.paper is not None},
    )  # fmt: skip
    store(html, folder / "study.html")


def _alone(study: Study) -> bool:
    return len(study.axis) == 1 and len(study.row) == 1
