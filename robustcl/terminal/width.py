"""How wide the terminal is that is written to, and lines that end with it between words."""

from __future__ import annotations

import shutil
import sys
import textwrap

_LEAST = 20
"""Letters: narrower is no terminal that anybody reads."""


def columns() -> int | None:
    """Return how many letters a line of the terminal holds; ``None`` where standard output is a file or a pipe."""
    return max(shutil.get_terminal_size().columns, _LEAST) if is_terminal(sys.stdout) else None


def is_terminal(stream: object) -> bool:
    """Say whether a stream is a terminal; FORCE_COLOR, which kernels of notebooks and CI set, is of colours alone."""
    asks = getattr(stream, "isatty", None)
    try:
        return asks is not None and bool(asks())
    except ValueError:  # closed
        return False


def fold(text: str, room: int | None) -> str:
    """Return text whose lines are broken between words, what goes on set in; tables stay, and so do long words.

    ``room``: letters of a line; ``None`` breaks none.
    """
    if room is None:
        return text
    return "\n".join(part for line in text.split("\n") for part in _broken(line, room))


def _broken(line: str, room: int) -> list[str]:
    if len(line) <= room or line.startswith("|"):
        return [line]
    bare = line.lstrip()
    indent = " " * (len(line) - len(bare) + (2 if line != bare or bare.startswith("- ") else 0))
    return textwrap.wrap(line, room, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
