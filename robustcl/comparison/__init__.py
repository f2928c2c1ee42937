"""Runs side by side: mean and spread over seeds, paired significance on the same images, in five formats.

``compare`` makes the comparison, ``render`` its text, ``write`` a file. It refuses to put numbers into one column that
were measured under different protocols, threats, attacks or images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, get_args

from robustcl.comparison.data import as_json, csv
from robustcl.comparison.readable import html, latex, markdown
from robustcl.comparison.runs import By, Group
from robustcl.comparison.table import ComparedCell, Comparison, compare
from robustcl.errors import UsageError

__all__ = [
    "FORMATS", "By", "ComparedCell", "Comparison", "Format", "Group", "compare", "format_of", "markdown", "render",
    "write",
]  # fmt: skip

Format = Literal["markdown", "latex", "csv", "html", "json"]
"""How a comparison is written."""

FORMATS: tuple[Format, ...] = get_args(Format)

_SUFFIXES: Mapping[str, Format] = {".tex": "latex", ".csv": "csv", ".html": "html", ".htm": "html", ".json": "json"}
_RENDER: Mapping[Format, Callable[[Comparison], str]] = {
    "markdown": markdown,
    "latex": latex,
    "csv": csv,
    "html": html,
    "json": as_json,
}


def format_of(file: Path | None) -> Format:
    """Return the format that a file's name asks for; Markdown where it asks for none."""
    return _SUFFIXES.get(file.suffix.lower(), "markdown") if file is not None else "markdown"


def render(comparison: Comparison, format: Format = "markdown") -> str:
    """Return a comparison as text."""
    return _RENDER[format](comparison)


def write(comparison: Comparison, file: Path, format: Format | None = None, *, force: bool = False) -> Path:
    """Write a comparison whole or not at all, in the format that the file's name asks for unless one is given.

    Raises ``UsageError`` where the file exists already, unless ``force``, or cannot be written.
    """
    from robustcl.report.page import store

    if file.exists() and not force:
        raise UsageError(f"--out {file} exists already: name another file, or replace it with --force")
    return store(render(comparison, format or format_of(file)), file)
