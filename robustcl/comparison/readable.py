"""The comparison for people: Markdown for a terminal and a README, LaTeX for a paper, one HTML page for a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from robustcl.comparison.data import records
from robustcl.comparison.grid import MISSING, Grid, Text, grids
from robustcl.comparison.table import Comparison
from robustcl.terminal.markdown import render_table

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "|": "$|$", "±": r"$\pm$",
    "–": "--", "[": "{[}", "]": "{]}", "*": "{*}", '"': "''",
}  # fmt: skip
"""Brackets and stars are wrapped: after a line's end they would be its option."""


def markdown(comparison: Comparison) -> str:
    """Return the tables, aligned for a terminal, and the notes as a list."""
    parts = [_markdown(grid) for grid in grids(comparison)]
    return "\n\n".join([*parts, "\n".join(f"- {_one_line(note)}" for note in comparison.notes)]) + "\n"


def latex(comparison: Comparison) -> str:
    """Return booktabs tables; the notes stand below the first as a footnote text."""
    parts = ["% needs \\usepackage{booktabs}"]
    for place, grid in enumerate(grids(comparison)):
        below = [r"\par\medskip\footnotesize " + " ".join(map(escape, comparison.notes))] if place == 0 else []
        parts.append("\n".join([*_latex(grid), *below, r"\end{table}"]))
    return "\n\n".join(parts) + "\n"


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


def escape(text: str) -> str:
    """Return text that LaTeX prints as it stands."""
    return "".join(_LATEX.get(letter, letter) for letter in _one_line(text))


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def _markdown(grid: Grid) -> str:
    rows = [[Text(title) for title in grid.head], *grid.rows]
    shown = [[_markdown_cell(cell) for cell in row] for row in rows]
    return f"**{_markdown_cell(Text(grid.title))}**\n\n{render_table(shown, grid.words)}"


def _markdown_cell(cell: Text) -> str:
    text = re.sub(r"([\\|*`]|<(?=\S))", r"\\\1", _one_line(cell.text))
    return f"**{text}**" if cell.bold else text


def _latex(grid: Grid) -> list[str]:
    align = "l" * grid.words + "r" * (len(grid.head) - grid.words)
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{escape(grid.title)}}}", rf"\begin{{tabular}}{{{align}}}"]
    lines += [r"\toprule", " & ".join(map(escape, grid.head)) + r" \\", r"\midrule"]
    lines += [" & ".join(_latex_cells(grid, row)) + r" \\" for row in grid.rows]
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _latex_cells(grid: Grid, row: Sequence[Text]) -> Iterator[str]:
    for place, cell in enumerate(row):
        text = escape(cell.text)
        if place >= grid.words:
            text = re.sub(r"-(?=\d)", "$-$", text)  # a minus, not a hyphen
        # In the bold face \boldmath makes the sign of the spread as bold as its digits.
        yield rf"\textbf{{\boldmath {text}}}" if cell.bold else text
