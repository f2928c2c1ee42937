"""A command in this process: its exit code, what it said, and whatever it let out that is no sentence."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import click
from click.testing import CliRunner

from robustcl.cli.main import robustcl
from robustcl.errors import RobustclError

LONGEST = 60
"""Seconds after which a command counts as hanging."""


class Hangs(BaseException):
    """Raised by the alarm; no command catches it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended: exit code, the sentence of its error if there is one, its output, a fault's traceback."""

    code: int
    sentence: str | None
    output: str
    fault: str | None = None


def call(arguments: Sequence[str]) -> Ended:
    """Run one command as ``robustcl.cli.console`` does."""
    before = signal.signal(signal.SIGALRM, _ring)
    signal.alarm(LONGEST)
    try:
        done = CliRunner().invoke(robustcl, list(arguments), standalone_mode=False)
    except Hangs:
        return Ended(-1, None, "", f"hangs for {LONGEST} s")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    error = done.exception
    if error is None:
        code = done.return_value if isinstance(done.return_value, int) else 0
        return Ended(code, None, done.output)
    if isinstance(error, RobustclError):
        return Ended(error.exit_code, str(error), done.output)
    if isinstance(error, click.ClickException):
        return Ended(error.exit_code, error.format_message(), done.output)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return Ended(130, "interrupted", done.output)
    told = "".join(traceback.format_exception(error)[-12:])
    return Ended(-1, None, done.output, told)


def _ring(number: int, frame: FrameType | None) -> Any:
    raise Hangs
