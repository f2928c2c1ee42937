"""``robustcl resume``: continue a run that was cut off."""

from __future__ import annotations

import click


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run", type=click.Path(file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Write the results as JSON, for tools.")
def command(run: str, as_json: bool) -> None:
    """Go on with RUN where it stopped; the outcome is the same as without the stop."""
    from robustcl.cli.runs import Progress, conclude
    from robustcl.composition.run import resume

    with Progress() as progress:
        finished = resume(run, watcher=progress.watch, say=progress.say, report=False)
    conclude(finished, as_json)
