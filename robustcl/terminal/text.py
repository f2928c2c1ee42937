"""Text on its way to a terminal: tables, and what is of unknown origin, for it obeys control characters."""

from __future__ import annotations

import re
from collections.abc import Sequence

_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""Control characters but for tab and line feed, what turns the direction of text, and halves of characters."""


_LONG = re.compile(r"\S{301,}")
"""What no line of a terminal holds: a value out of a damaged file."""


def sentence(text: str) -> str:
    """Return an error's text as one printable line, words longer than any name cut in their middle."""
    whole = " ".join(printable(text).split("\n")).strip()
    return _LONG.sub(lambda found: f"{found[0][:120]}...{found[0][-60:]}", whole)


def printable(text: str) -> str:
    r"""Return text with every character that a terminal would obey written out, ESC as ``\x1b``."""
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


def align(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table whose columns stand below their heads, two spaces apart."""
    widths = [max(len(str(row[column])) for row in [head, *rows]) for column in range(len(head))]
    lines = [
        "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows]
    ]
    return "\n".join(line.rstrip() for line in lines)
