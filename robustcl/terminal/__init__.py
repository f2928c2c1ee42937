"""What a person sees on a terminal: text made printable, tables, and how far a run is."""

from robustcl.terminal.text import (
    align,
    printable,
    sentence,
)

__all__ = [
    "align",
    "printable",
    "sentence",
]
