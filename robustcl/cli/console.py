"""The command's entry point: errors become one sentence and an exit code, never a traceback."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import click

from robustcl.cli.main import robustcl
from robustcl.disk import say_why
from robustcl.errors import ProcessLost, RobustclError
from robustcl.processes import signals
from robustcl.processes.lost import RANK, name_lost
from robustcl.terminal import sentence

DEBUG = "ROBUSTCL_DEBUG"
"""The environment variable that ``--debug`` sets, for the processes that a run launches as well."""

INTERRUPTED = 130
"""Whichever signal it was: what is left can be taken up again."""

_KEPT = "what was finished is kept, and the same command goes on from there (robustcl resume RUN for a training run)"


def _forget_output() -> None:
    """Let the interpreter's own flush at its end find nothing to complain of."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def main() -> NoReturn:
    """Run the command line and leave with its exit code.

    0 done, 1 the run failed, 2 bad usage or recipe, 3 the audit or a proof failed, 130 interrupted. A command returns
    its own code where it is not 0.
    """
    sys.exit(_run())


def _run() -> int:
    _open_streams()
    try:
        os.getcwd()
    except OSError:  # some libraries end the process where they cannot ask for it
        click.echo("robustcl: the working folder is gone: change into one that is there", err=True)
        return 2
    with signals.handle(signals.stop):
        try:
            return _answered()
        except OSError as error:
            if os.environ.get(DEBUG):
                raise
            if _is_of_output(error):
                _forget_output()
            if error.errno != errno.EPIPE:
                _complain(error)
            return 2 if error.errno in _OF_PATHS else 1


_OF_PATHS = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR)
"""What is wrong with a path that somebody has given."""


def _open_streams() -> None:
    """Give the process its three streams: the number of one that was closed would be that of the next file.

    What a terminal or file of another encoding cannot show is written out, as in errors, instead of ending a command.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _answered() -> int:
    try:
        code = robustcl.main(prog_name="robustcl", standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, click.Abort) as error:  # an Abort is a RuntimeError
        signal = error if isinstance(error, signals.Stopped) else error.__cause__  # click makes an Abort of it
        by = f"stopped by {signal}" if isinstance(signal, signals.Stopped) else "interrupted"
        click.echo(f"robustcl: {by}: {_KEPT}", err=True)
        return INTERRUPTED
    except (RobustclError, RuntimeError, ConnectionError) as error:
        if os.environ.get(DEBUG):
            raise
        cause = name_lost(error, int(os.environ.get("WORLD_SIZE", "1")))
        if cause is not None:
            _complain(ProcessLost(cause))
            if cause == RANK:
                _leave(ProcessLost.exit_code)
            return ProcessLost.exit_code
        if not isinstance(error, RobustclError):
            raise
        _complain(error)
        return error.exit_code
    except click.ClickException as error:
        with contextlib.suppress(OSError):
            click.echo(_usage(error), err=True)
        return error.exit_code
    return code if isinstance(code, int) else 0


def _leave(code: int) -> NoReturn:
    """End at once: threads of the collectives wait for the lost process, and abort an orderly end now and then."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _usage(error: click.ClickException) -> str:
    """Return click's complaint as a sentence that names the help; a group without a command is answered by its help."""
    told_by_click, context = error.format_message(), getattr(error, "ctx", None)
    if context is not None and told_by_click == context.get_help():
        return told_by_click
    complaint = sentence(told_by_click[:1].lower() + told_by_click[1:].removesuffix("."))
    joint = " " if complaint.endswith("?") else "; "
    return f"robustcl: {complaint}{joint}{context.command_path if context else 'robustcl'} -h says what it takes"


def _complain(error: Exception) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        click.echo(f"robustcl: {say_error(error)}", err=True)


def say_error(error: Exception) -> str:
    """Return an error as the one line that a person reads, be it ours or the system's about a file."""
    if not isinstance(error, OSError):
        return sentence(str(error))
    if _is_of_output(error):
        return f"the output cannot be written: {(error.strerror or str(error)).lower()}"
    what = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else "a file"
    return sentence(str(say_why(what, error, "used")))


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
