"""What a person sees on a terminal: text made printable, tables, and how far a run is."""

from robustcl.terminal.text import (
    aligned,
    printable,
    sentence,
)

__all__ = [
    "aligned",
    "printable",
    "sentence",
]
