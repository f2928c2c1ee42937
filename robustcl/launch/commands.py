"""Commands of ours as tasks run them, and as one would type them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path


def make_command(words: Sequence[str]) -> tuple[str, ...]:
    """Return the program and its arguments that run ``robustcl`` with some words, by this Python.

    Without the working folder on its path, as the installed program: a random.py that lies there is nobody's module.
    """
    return (sys.executable, "-P", "-m", "robustcl", *words)


def show_command(words: Sequence[str]) -> str:
    """Return the line that does the same from wherever it is typed."""
    return f"cd {shlex.quote(str(Path.cwd()))} && {shlex.join(['robustcl', *words])}"
