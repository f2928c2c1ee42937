"""``robustcl resume``: continue a run that was cut off."""

from __future__ import annotations

import click


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run", type=click.Path(file_okay=False))
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Change what may change in a run that has begun, e.g. stage.robust.optimizer.lr=0.01; the lock notes it.",
)
@click.option("--store", metavar="DIR", help="Folder of finished stages, or none  [default: as the run began]")
@click.option("--json", "as_json", is_flag=True, help="Write the results as JSON, for tools.")
def command(run: str, overrides: tuple[str, ...], store: str | None, as_json: bool) -> None:
    """Go on with RUN where it stopped; the outcome is the same as without the stop, unless --set changes it."""
    from robustcl.cli.runs import ProgressBar, conclude
    from robustcl.run.execution import resume

    with ProgressBar() as progress:
        finished = resume(run, overrides, watcher=progress.watch, say=progress.say, report=False, store=store)
    conclude(finished, as_json)
