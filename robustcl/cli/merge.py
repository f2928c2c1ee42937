"""``robustcl merge``: the shares of an evaluation become one."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", type=click.Path(file_okay=False))
def command(folder: str) -> None:
    """Join the shares that were judged with --shard in FOLDER into one journal.

    The evaluation then runs once more without --shard: it computes nothing that a share has judged.
    """
    from robustcl.evaluate import shards

    taken, count = shards.merge(Path(folder))
    click.echo(f"joined {count} shares, {taken} outcomes, in {Path(folder) / shards.WHOLE}")
    click.echo("for the results, give the same robustcl evaluate command without --shard")
