"""The files of a finished study: study.md, study.tex, study.csv, study.html, and its figures as SVG, PDF and PNG."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import pandas as pd

from robustcl.claims import telling
from robustcl.disk import as_usage, write_atomically
from robustcl.report import latex, marked
from robustcl.report.grid import Grid
from robustcl.report.page import environment, store
from robustcl.report.tables import inert
from robustcl.study.figures.figure import DrawnFigure
from robustcl.study.finished import FinishedStudy
from robustcl.study.grammar.study import Study

KINDS: tuple[Literal["pdf", "png"], ...] = ("pdf", "png")
"""As what a figure is written beside its SVG."""


def write(outcome: FinishedStudy, drawings: Sequence[DrawnFigure]) -> None:
    """Write every file whole or not at all. Raises ``UsageError`` where the place cannot be written."""
    study, folder, records = outcome.study, outcome.path, outcome.records()
    text = [f"# {study.name}", study.about.strip(), study.cite, outcome.markdown()]
    for number, drawing in enumerate(drawings, 1):
        store(f"{drawing.svg}\n", folder / f"figure-{number}.svg")
        for kind in KINDS:
            with as_usage(str(folder), "name another folder with --out"):
                write_atomically(folder / f"figure-{number}.{kind}", drawing.sketch.encode(kind))
        text.append(f"![{drawing.caption}](figure-{number}.svg)\n\n{drawing.caption}")
    store("\n\n".join(part for part in text if part) + "\n", folder / "study.md")
    store(_latex(study, outcome.grids, outcome.notes), folder / "study.tex")
    plain = [{key: inert(value) for key, value in record.items()} for record in records]
    store(pd.DataFrame(plain).to_csv(index=False), folder / "study.csv")
    html = environment().get_template("study.html.j2").render(
        study=study, grids=outcome.grids, notes=outcome.notes, drawings=drawings, rows=records,
        claims=outcome.claims, how=telling.HOW,
    )  # fmt: skip
    store(html, folder / "study.html")


def _latex(study: Study, grids: Sequence[Grid], notes: Sequence[str]) -> str:
    """Return the tables for a paper; the first begins with what the study is, and the notes stand as comments."""
    about = " ".join(study.about.split("\n\n")[0].split())
    first = [dataclasses.replace(grid, title=f"{about} {grid.title}".strip()) for grid in grids[:1]]
    comments = "".join(f"% {marked.one_line(note)}\n" for note in notes)
    return f"{comments}{latex.document([*first, *grids[1:]])}"
