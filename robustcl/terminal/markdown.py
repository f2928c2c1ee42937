"""Markdown tables, aligned for a terminal."""

from __future__ import annotations

from collections.abc import Sequence


def render_table(rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """Return rows, the head first, as a table; the first ``words`` columns stand left, numbers after them right."""
    widths = [max(3, *(len(row[place]) for row in rows)) for place in range(len(rows[0]))]
    ruler = ["-" * width if place < words else "-" * (width - 1) + ":" for place, width in enumerate(widths)]
    head, *body = rows
    return "\n".join(
        f"| {' | '.join(_padded(row[place], width, place < words) for place, width in enumerate(widths))} |"
        for row in [head, ruler, *body]
    )


def escape_cell(text: str) -> str:
    """Return a text in one line that ends no cell of a table and opens no tag."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _padded(text: str, width: int, left: bool) -> str:
    return text.ljust(width) if left else text.rjust(width)
