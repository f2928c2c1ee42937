"""The command's entry point: errors become one sentence and an exit code, never a traceback."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from robustcl.cli.main import robustcl
from robustcl.errors import RobustclError

DEBUG = "ROBUSTCL_DEBUG"
"""The environment variable that ``--debug`` sets, for the processes that a run launches as well."""

INTERRUPTED = 130


def main() -> NoReturn:
    """Run the command line and leave with its exit code.

    0 done, 1 the run failed, 2 bad usage or recipe, 3 the audit failed, 130 interrupted. A command returns
    its own code where it is not 0.
    """
    sys.exit(_run())


def _run() -> int:
    try:
        code = robustcl.main(prog_name="robustcl", standalone_mode=False)
    except RobustclError as error:
        if os.environ.get(DEBUG):
            raise
        click.echo(f"robustcl: {error}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("robustcl: interrupted", err=True)
        return INTERRUPTED
    return code if isinstance(code, int) else 0
