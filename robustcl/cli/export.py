"""``robustcl export RUN --model-info DIR``: a finished run's numbers in RobustBench's shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command(name="export", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--model-info", "folder", required=True, metavar="DIR", type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the cards: DIR/DATASET/THREAT_MODEL/ID.json is written.",
)  # fmt: skip
@click.option("--id", required=True, help="Name of the model, by custom <Author><Year><FirstWord>.")
@click.option("--dataset", help="Data set as the leaderboard names it  [default: the run's]")
@click.option("--protocol", help="Protocol whose numbers are meant, where the run was judged by several.")
@click.option("--route", help="Batch-norm branch whose numbers are meant.")
@click.option("--encoder", help="Encoder whose numbers are meant: online, or a follower's name.")
@click.option("--name", help="Title of the publication  [default: the run's name]")
@click.option("--authors", help="Authors of the publication.")
@click.option("--venue", help="Where it was published.")
@click.option("--link", help="Address of the publication.")
@click.option("--reported", metavar="PERCENT", help="Robust accuracy that the publication states, e.g. 45.31.")
@click.option("--additional-data/--no-additional-data", default=None, help="Whether more data than the set's was used.")
@click.option("--footnote", help="A sentence of yours before the one that says how it was measured.")
@click.option("--force", is_flag=True, help="Replace the card if it exists.")
def command(run: Path, folder: Path, **facts: Any) -> None:
    """Write the model card of a finished RUN as RobustBench shapes it; what was not measured stays empty."""
    from robustcl.robustbench import write_model_info

    click.echo(f"model info: {write_model_info(run, folder, **facts)}")
