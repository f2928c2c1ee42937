"""``robustcl transfer RUN RUN...``: what the adversaries of one run do to the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from robustcl.cli.parts import as_json, device, precision


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...", type=click.Path(path_type=Path))
@click.option(
    "--attack",
    metavar="NAME|TABLE",
    help="Attack by name, or with options: '{ use = \"pgd\", steps = 50 }'  [default: the first of the recipes]",
)
@click.option("--protocol", help="Protocol whose classifiers are taken  [default: the first of each recipe]")
@click.option("--route", help="Batch-norm branch  [default: the first that the recipe judges]")
@click.option("--norm", help="Norm of the ball, with --eps  [default: the runs']")
@click.option("--eps", help='Size of the ball, e.g. "8/255"  [default: the runs\']')
@click.option("--samples", type=click.IntRange(1), help="Take only the first so many test images.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for transfer.json and the journal  [default: below runs/, named by what is asked]",
)
@device
@precision
@as_json
def command(runs: tuple[Path, ...], attack: str | None, as_json: bool, **given: Any) -> None:
    """Attack the classifier of each finished RUN, and judge its adversaries by all of them.

    A row of the table is a source of adversaries, a column a judge; the diagonal is the white box. The same command
    goes on where it was cut off. The report page of each run shows the table too.
    """
    from robustcl import report
    from robustcl.analysis.black_box import matrix
    from robustcl.cli.runs import ProgressBar
    from robustcl.report import blackbox

    with ProgressBar() as progress:
        made = matrix(runs, attack=attack, watcher=progress.watch, say=progress.say, **given)
        page = blackbox.write(made.tables, made.path)
        for folder in blackbox.hand_out(made.tables, made.path):
            report.write(folder)
    if as_json:
        click.echo(json.dumps(made.tables))
        return
    click.echo(made.markdown())
    click.echo(f"transfer  {made.path / 'transfer.json'}")
    click.echo(f"page      {page}")
