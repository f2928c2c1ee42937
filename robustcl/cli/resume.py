"""``robustcl resume``: continue a run that was cut off."""

from __future__ import annotations

from typing import Any

import click

from robustcl.cli.parts import add_processes


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run", type=click.Path(file_okay=False))
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Change what may change in a run that has begun, e.g. stage.robust.optimizer.lr=0.01; the lock notes it.",
)
@click.option("--device", help='Go on on another device, "cpu", "cuda" or "cuda:1"  [default: the run\'s]')
@add_processes
@click.option("--store", metavar="DIR", help="Folder of finished stages, or none  [default: as the run began]")
@click.option("--json", "as_json", is_flag=True, help="Write the results as JSON, for tools.")
def command(run: str, overrides: tuple[str, ...], as_json: bool, **where: Any) -> None:
    """Go on with RUN where it stopped; the outcome is the same as without the stop, unless --set changes it."""
    from robustcl.cli.runs import ProgressBar, conclude
    from robustcl.run.execution import resume

    with ProgressBar() as progress:
        finished = resume(run, overrides, **where, watcher=progress.watch, say=progress.say, report=False)
    conclude(finished, as_json)
