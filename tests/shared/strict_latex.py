"""A strict reader of the LaTeX tables that we write: what TeX would stumble over is an error here."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_COMMANDS = {
    "begin", "end", "centering", "small", "setlength", "tabcolsep", "caption", "label", "toprule", "midrule",
    "cmidrule", "bottomrule", "multicolumn", "shortstack", "textbf", "boldmath", "par", "medskip", "smallskip",
    "footnotesize", "textbackslash", "textasciitilde", "textasciicircum", "pm", "rightarrow", "leftarrow", "times",
    "cdot", "leq", "geq", "approx", "infty", "in", "circ", "ldots", "dag", "ddag", "S", "ell", "alpha", "beta",
    "varepsilon", "epsilon", "lambda", "mu", "sigma", "tau", "delta", "Delta",
}  # fmt: skip
_ESCAPED = set("{}$&#_%,\\")


@dataclass
class Tabular:
    """One tabular: how many columns its head announces, and its rows as cells; ``spans`` counts joined ones."""

    columns: int
    rows: list[list[str]] = field(default_factory=list)


def read(text: str) -> list[Tabular]:
    """Return the tabulars of a file. Raises ``AssertionError`` for what TeX would stumble over."""
    lines = [line for line in text.split("\n") if not line.startswith("%")]
    body = "\n".join(lines)
    _check_letters(body)
    assert body.count("\n\n\n") == 0
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", body):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert not opened
    found = []
    for head, inner in re.findall(
        r"\\begin\{tabular\}\{((?:[lr]|p\{[\d.]+pt\})+)\}\n(.*?)\\end\{tabular\}", body, re.DOTALL
    ):
        made = Tabular(len(re.sub(r"\{[^}]*\}", "", head)))
        for line in inner.strip().split("\n"):
            if not line.startswith(("\\toprule", "\\midrule", "\\bottomrule", "\\cmidrule")):
                assert line.endswith(" \\\\"), line
                _row(made, line[: -len(" \\\\")])
            for first, last in re.findall(r"\\cmidrule\(lr\)\{(\d+)-(\d+)\}", line):
                assert 1 <= int(first) <= int(last) <= made.columns
        found.append(made)
    assert len(found) == body.count("\\begin{tabular}")
    return found


def _row(made: Tabular, line: str) -> None:
    cells = [cell.strip() for cell in _split(line)]
    spans = [int(span[1]) if (span := re.match(r"\\multicolumn\{(\d+)\}", cell)) else 1 for cell in cells]
    assert sum(spans) == made.columns, f"{sum(spans)} of {made.columns} columns: {line}"
    assert not cells[0].startswith(("[", "*")), "TeX takes it for an option of the line's end before it"
    for cell in cells:
        _check_balance(cell)
    made.rows.append(cells)


def _split(line: str) -> list[str]:
    return re.split(r"(?<!\\)&", re.sub(r"\\\\", "\\\\\\\\ ", line))


def _check_balance(text: str) -> None:
    plain = re.sub(r"\\[{}$]", "", text.replace(r"\\", " "))
    depth = 0
    for letter in plain:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0, text
    assert depth == 0, text
    assert plain.count("$") % 2 == 0, text


def _check_letters(body: str) -> None:
    """Check that every command is one that we know, and that nothing special stands by itself."""
    rest = re.sub(r"\\([A-Za-z]+)", lambda found: _known(found[1]), body.replace(r"\\", " "))
    rest = re.sub(r"\\(.)", lambda found: _escaped(found[1]), rest)
    rest = re.sub(r"\$[^$]*\$", "", re.sub(r"tab:[^}]*", "", rest))
    assert not re.search(r"[#%_^]", rest), rest
    for line in body.split("\n"):
        _check_balance(line)


def _known(name: str) -> str:
    assert name in _COMMANDS, f"\\{name}"
    return ""


def _escaped(letter: str) -> str:
    assert letter in _ESCAPED, f"\\{letter}"
    return ""
