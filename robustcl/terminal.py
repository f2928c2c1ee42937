"""Text of unknown origin on its way to a terminal, which obeys control characters."""

from __future__ import annotations

import re

_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""Control characters but for tab and line feed, what turns the direction of text, and halves of characters."""


def printable(text: str) -> str:
    r"""Return text with every character that a terminal would obey written out, ESC as ``\x1b``."""
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)
