"""``robustcl export RUN``: a finished run's numbers in RobustBench's shape, or with all that proves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from robustcl.errors import UsageError


@click.command(name="export", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--model-info", "folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the cards: DIR/DATASET/THREAT_MODEL/ID.json is written.",
)  # fmt: skip
@click.option(
    "--proof", metavar="DIR", type=click.Path(file_okay=False, path_type=Path),
    help="New folder of weights, card, results and witnesses, for others to hold against robustcl verify.",
)  # fmt: skip
@click.option("--id", help="Name of the model, by custom <Author><Year><FirstWord>.")
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
def command(run: Path, folder: Path | None, proof: Path | None, **facts: Any) -> int:
    """Write the model card of a finished RUN as RobustBench shapes it, or a folder that proves its numbers.

    In a card, what was not measured stays empty. Exit code 3 where the folder of --proof proves too little.
    """
    if folder is None and proof is None:
        raise UsageError("name what is to be written: --model-info DIR, --proof DIR, or both")
    if (folder is None) != (facts["id"] is None):
        raise UsageError("--model-info and --id need each other: a card is a file of that name")
    given = [name for name, value in facts.items() if value not in (None, False)]
    if folder is None and given:
        raise UsageError(f"--{given[0].replace('_', '-')} is of --model-info: give that as well, or leave it out")
    if folder is not None:
        from robustcl.robustbench import write_model_info

        click.echo(f"model info: {write_model_info(run, folder, **facts)}")
    return 0 if proof is None else _publish(run, proof)


def _publish(run: Path, out: Path) -> int:
    from robustcl.cli.runs import ProgressBar
    from robustcl.cli.verify import tell
    from robustcl.proof.publishing import publish
    from robustcl.proof.verification import verify

    with ProgressBar() as progress:
        path = publish(run, out, say=progress.say)
        found = verify(path, say=progress.say)
    click.echo(f"proof: {path}")
    return tell(found)
