"""Tables for papers: LaTeX with booktabs, which need no other package and are no wider than the text of an article."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Iterator, Sequence

from robustcl.report.grid import Grid, Head, Text, fit, runs

PREAMBLE = "% needs \\usepackage{booktabs}"

_ROOM, _GAP = 345.0, 8.0
"""Points: the width of an article's text, and the space that a column has at its sides."""
_LINES = 45
"""Lines of a page of tables."""
_LABEL, _HEAD = 26, 10
"""Letters: longer words before a line, and longer heads that are wider than the numbers below, stand in lines."""

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "|": "$|$", "±": r"$\pm$",
    "–": "--", "—": "---", "[": "{[}", "]": "{]}", "*": "{*}", '"': "''", "`": "{`}", "→": r"$\rightarrow$",
    "←": r"$\leftarrow$", "×": r"$\times$", "·": r"$\cdot$", "≤": r"$\leq$", "≥": r"$\geq$", "≈": r"$\approx$",
    "−": "$-$", "∞": r"$\infty$", "∈": r"$\in$", "°": r"$^\circ$", "²": "$^2$", "³": "$^3$", "“": "``", "”": "''",
    "‘": "`", "’": "'", "…": r"\ldots{}", "†": r"\dag{}", "‡": r"\ddag{}", "§": r"\S{}", "ℓ": r"$\ell$",
    "α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$", "δ": r"$\delta$", "ε": r"$\varepsilon$", "ϵ": r"$\epsilon$",
    "η": r"$\eta$", "θ": r"$\theta$", "κ": r"$\kappa$", "λ": r"$\lambda$", "μ": r"$\mu$", "µ": r"$\mu$", "π": r"$\pi$",
    "ρ": r"$\rho$", "σ": r"$\sigma$", "τ": r"$\tau$", "φ": r"$\varphi$", "ω": r"$\omega$", "Δ": r"$\Delta$",
    "Σ": r"$\Sigma$", "Ω": r"$\Omega$", "∆": r"$\Delta$", "\u00a0": "~", "\u202f": r"\,",
}  # fmt: skip
"""Brackets and stars are wrapped: after a line's end they would be its option."""


def latex(grid: Grid) -> str:
    """Return a table as LaTeX, its notes below it; one that is too wide is turned or cut, and goes on where it must."""
    floats = _floats(fit(grid, _ROOM, _measure))
    return "\n\n".join(
        "\n".join(_float(grid, parts, place, last=place == len(floats) - 1)) for place, parts in enumerate(floats)
    )


def document(grids: Sequence[Grid]) -> str:
    """Return tables as a file for ``\\input``; letters that pdfTeX does not know are named at its head."""
    body = "\n\n".join(map(latex, grids))
    strange = "".join(dict.fromkeys(letter for letter in body if ord(letter) > 0x17F))
    engine = [f"% pdfTeX does not know {strange}: use XeTeX or LuaTeX with a font that has them"] if strange else []
    return "\n\n".join(["\n".join([PREAMBLE, *engine]), body]) + "\n"


def escape(text: str) -> str:
    """Return text that LaTeX prints as it stands, in one line."""
    return "".join(_SPECIAL.get(letter, letter) for letter in re.sub(r"\s+", " ", text) if letter.isprintable())


def _floats(parts: Sequence[Grid]) -> list[list[Grid]]:
    """Put the parts of a table on pages; a part that is longer than a page is cut."""
    pages: list[list[Grid]] = [[]]
    left = _LINES
    for part in itertools.chain.from_iterable(map(_pieces, parts)):
        if pages[-1] and len(part.rows) + 3 > left:
            pages.append([])
            left = _LINES
        pages[-1].append(part)
        left -= len(part.rows) + 3
    return pages


def _pieces(part: Grid) -> Iterator[Grid]:
    size = _LINES - 3
    for start in range(0, max(len(part.rows), 1), size):
        rows = part.rows[start : start + size]
        yield Grid(part.title, part.head, rows, part.words, part.keys, part.name, part.notes)


def _float(grid: Grid, parts: Sequence[Grid], place: int, *, last: bool) -> list[str]:
    caption = "Continued from the table before." if place else escape(grid.title)
    label = [rf"\label{{tab:{_plain(grid.name)}}}"] if grid.name and not place else []
    lines = [
        r"\begin{table}",
        r"\centering\small\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{caption}}}",
        *label,
        r"\par\smallskip",
    ]
    for number, part in enumerate(parts):
        lines += [*([r"\par\medskip"] if number else []), *_tabular(part)]
    below = [r"\par\medskip\footnotesize " + " ".join(map(escape, grid.notes))] if last and grid.notes else []
    return [*lines, *below, r"\end{table}"]


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9:.-]+", "-", name)


def _tabular(grid: Grid) -> list[str]:
    align = "l" * grid.words + "r" * (len(grid.head) - grid.words)
    heads = [_stack(_head(grid, place), align[place]) for place in range(len(grid.head))]
    lines = [rf"\begin{{tabular}}{{{align}}}", r"\toprule", *_groups(grid.head)]
    lines += [" & ".join(heads) + r" \\", r"\midrule"]
    lines += [" & ".join(_cells(grid, row)) + r" \\" for row in grid.rows]
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _groups(head: Sequence[Head]) -> list[str]:
    """Return the line of the groups and the rules below it, nothing where there are none."""
    if not any(one.group for one in head):
        return []
    cells, rules, at = [], [], 1
    for group, span in runs(head):
        if group:
            cells.append(rf"\multicolumn{{{span}}}{{c}}{{{escape(group)}}}")
            rules.append(rf"\cmidrule(lr){{{at}-{at + span - 1}}}")
        else:
            cells += [""] * span
        at += span
    return [" & ".join(cells) + r" \\", " ".join(rules)]


def _head(grid: Grid, place: int) -> list[str]:
    """Return the lines of a head: one that is wider than its column's cells is broken."""
    cells = _HEAD if place < grid.words else max((len(cell.whole) for cell in grid.column(place)), default=0)
    return _lines(grid.head[place].title, max(cells, _HEAD))


def _lines(text: str, letters: int) -> list[str]:
    return textwrap.wrap(text, letters, break_long_words=letters >= _LABEL, break_on_hyphens=False) or [""]


def _words(grid: Grid, place: int, cell: Text) -> list[str]:
    """Return the lines of a cell of words: what a line is about is broken sooner than what is said of it."""
    return _lines(cell.whole, _LABEL if place < grid.keys else 2 * _LABEL)


def _stack(lines: Sequence[str], side: str) -> str:
    texts = [escape(line) for line in lines]
    return texts[0] if len(texts) < 2 else rf"\shortstack[{side}]{{" + r"\\".join(texts) + "}"


def _cells(grid: Grid, row: Sequence[Text]) -> Iterator[str]:
    for place, cell in enumerate(row):
        text = _stack(_words(grid, place, cell), "l") if place < grid.words else escape(cell.whole)
        if place >= grid.words:
            text = re.sub(r"-(?=\d)", "$-$", text)  # a minus, not a hyphen
        # In the bold face \boldmath makes the sign of the spread as bold as its digits.
        yield rf"\textbf{{\boldmath {text}}}" if cell.bold else text


def _measure(grid: Grid, place: int) -> float:
    """Return about how many points of 9-point Computer Modern a column takes, with the space at its sides."""
    cells = [_width(line) * (1.15 if cell.bold else 1.0) for cell in grid.column(place)
             for line in (_words(grid, place, cell) if place < grid.words else [cell.whole])]  # fmt: skip
    own = max([0.0, *cells, *map(_width, _head(grid, place))])
    group = grid.head[place].group
    members = [one for one, head in enumerate(grid.head) if head.group == group]
    if group and members[-1] == place:  # what its group's name wants more than the columns below it
        narrower = sum(_measure(grid, one) - _GAP for one in members[:-1]) + _GAP * (len(members) - 1)
        own = max(own, _width(group) - narrower)
    return own + _GAP


def _width(text: str) -> float:
    return sum(_letter(letter) for letter in text)


def _letter(letter: str) -> float:
    if letter in " .,:;'|!iljIt[]()":
        return 2.9
    return 7.4 if letter.isupper() or letter in "mw±%&→<>+=" else 4.8
