"""The command's entry point: errors become one sentence and an exit code, never a traceback."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import click

from robustcl import signals
from robustcl.cli.main import robustcl
from robustcl.disk import told
from robustcl.errors import RobustclError
from robustcl.terminal import sentence

DEBUG = "ROBUSTCL_DEBUG"
"""The environment variable that ``--debug`` sets, for the processes that a run launches as well."""

INTERRUPTED = 130
"""Whichever signal it was: what is left can be taken up again."""

_KEPT = "what was finished is kept, and the same command goes on from there (robustcl resume RUN for a training run)"


def _forget_output() -> None:
    """Let the interpreter's own flush at its end find nothing to complain of."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def main() -> NoReturn:
    """Run the command line and leave with its exit code.

    0 done, 1 the run failed, 2 bad usage or recipe, 3 the audit failed, 130 interrupted. A command returns
    its own code where it is not 0.
    """
    sys.exit(_run())


def _run() -> int:
    with signals.handled(signals.stop):
        try:
            return _answered()
        except OSError as error:
            if os.environ.get(DEBUG):
                raise
            if _is_of_output(error):
                _forget_output()
            if error.errno != errno.EPIPE:
                _complain(error)
            return 1


def _answered() -> int:
    try:
        code = robustcl.main(prog_name="robustcl", standalone_mode=False)
        sys.stdout.flush()
    except RobustclError as error:
        if os.environ.get(DEBUG):
            raise
        _complain(error)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort) as error:
        signal = error if isinstance(error, signals.Stopped) else error.__cause__  # click makes an Abort of it
        by = f"stopped by {signal}" if isinstance(signal, signals.Stopped) else "interrupted"
        click.echo(f"robustcl: {by}: {_KEPT}", err=True)
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def _complain(error: Exception) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        click.echo(f"robustcl: {said(error)}", err=True)


def said(error: Exception) -> str:
    """Return an error as the one line that a person reads, be it ours or the system's about a file."""
    if not isinstance(error, OSError):
        return sentence(str(error))
    if _is_of_output(error):
        return f"the output cannot be written: {(error.strerror or str(error)).lower()}"
    what = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else "a file"
    return sentence(str(told(what, error, "used")))


def _is_of_output(error: OSError) -> bool:
    """Say whether it was standard output that could not be written: /dev/full, a full disk behind it, a closed pipe."""
    if error.filename is not None:
        return False
    frames = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].endswith(_PRINTERS)


_PRINTERS = tuple(
    os.path.join(*parts)
    for parts in (("click", "utils.py"), ("rich", "console.py"), ("cli", "output.py"), ("cli", "console.py"))
)
"""The files whose last words are to standard output or standard error."""
