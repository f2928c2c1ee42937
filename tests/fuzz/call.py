"""A command in this process: its exit code, what it said, and whatever it let out that is no sentence."""

from __future__ import annotations

import contextlib
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import click
import torch
from click.testing import CliRunner

from robustcl.cli.console import say_error
from robustcl.cli.main import robustcl
from robustcl.errors import RobustclError

LONGEST = 300
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
    with _bell():
        done = CliRunner().invoke(robustcl, list(arguments), standalone_mode=False)
        code = done.return_value if isinstance(done.return_value, int) else 0
        return Ended(code, None, done.output) if done.exception is None else _of(done.exception, done.output)
    return _HANGS


def ask(reader: Callable[[Path, Path], object], run: Path, file: Path) -> Ended:
    """Let one reader read a run, of which a file was mutated."""
    with _bell():
        try:
            reader(run, file)
        except Exception as error:
            return _of(error, "")
        return Ended(0, None, "")
    return _HANGS


_HANGS = Ended(-1, None, "", f"hangs for {LONGEST} s")


@contextlib.contextmanager
def _bell() -> Iterator[None]:
    """Leave the block where it takes too long."""
    before, grad = signal.signal(signal.SIGALRM, _ring), torch.is_grad_enabled()
    signal.alarm(LONGEST)
    try:
        yield
    except Hangs:
        pass
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        # A signal that falls into torch.no_grad's own exit leaves gradients off: a command's process ends with it.
        torch.set_grad_enabled(grad)


def _of(error: BaseException, output: str) -> Ended:
    if isinstance(error, RobustclError):
        return Ended(error.exit_code, say_error(error), output)
    if isinstance(error, click.ClickException):
        return Ended(error.exit_code, error.format_message(), output)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return Ended(130, "interrupted", output)
    return Ended(-1, None, output, "".join(traceback.format_exception(error)[-12:]))


def _ring(number: int, frame: FrameType | None) -> Any:
    raise Hangs
