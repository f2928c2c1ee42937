"""Where commands print: text of unknown origin, names out of a stranger's run above all, reaches no terminal raw.

Standard error is not wrapped: progress bars need its control characters; what is said there is made printable first.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

from robustcl.terminal import printable


@contextlib.contextmanager
def escape_output() -> Iterator[None]:
    """Write out what a terminal would obey, in whatever is printed while the context is open."""
    before = sys.stdout
    sys.stdout = cast(TextIO, _Shown(before))
    try:
        yield
    finally:
        sys.stdout = before


class _Shown:
    """A text stream that makes printable what is written; everything else is the stream's below."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(printable(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
