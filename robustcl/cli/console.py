"""The command's entry point: errors become one sentence and an exit code, never a traceback."""

from __future__ import annotations

import errno
import os
import sys
from typing import NoReturn

import click

from robustcl import signals
from robustcl.cli.main import robustcl
from robustcl.errors import RobustclError
from robustcl.terminal import printable

DEBUG = "ROBUSTCL_DEBUG"
"""The environment variable that ``--debug`` sets, for the processes that a run launches as well."""

INTERRUPTED = 130
"""Whichever signal it was: what is left can be taken up again."""

_KEPT = "what was finished is kept, and the same command goes on from there (robustcl resume RUN for a training run)"
_NOWHERE = (errno.ENOSPC, errno.EPIPE, errno.EIO, errno.EDQUOT, errno.EFBIG)


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
            # What a command has to say goes nowhere: /dev/full, a full disk behind > FILE, a pipe that was closed.
            if os.environ.get(DEBUG) or error.errno not in _NOWHERE:
                raise
            _forget_output()
            if error.errno != errno.EPIPE:
                click.echo(f"robustcl: the output cannot be written: {error.strerror}", err=True)
            return 1


def _answered() -> int:
    try:
        code = robustcl.main(prog_name="robustcl", standalone_mode=False)
        sys.stdout.flush()
    except RobustclError as error:
        if os.environ.get(DEBUG):
            raise
        click.echo(f"robustcl: {printable(str(error))}", err=True)
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
