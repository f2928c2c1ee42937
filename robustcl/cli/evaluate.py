"""``robustcl evaluate``: judge the encoder of a finished run again, e.g. under another attack."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run", type=click.Path(file_okay=False))
@click.option("--protocol", help="Protocol  [default: the recipe's]")
@click.option("--route", multiple=True, help="Batch-norm branch to judge; may be given several times.")
@click.option("--attack", "attacks", multiple=True, help="Attack; may be given several times.")
@click.option("--samples", type=click.IntRange(1), help="Judge only the first so many test images.")
@click.option("--json", "as_json", is_flag=True, help="Write the results as JSON, for tools.")
def command(
    run: str,
    protocol: str | None,
    route: tuple[str, ...],
    attacks: tuple[str, ...],
    samples: int | None,
    as_json: bool,
) -> None:
    """Judge the encoder of a finished RUN; what its journal knows already is not computed again."""
    from robustcl.cli.runs import Progress, conclude
    from robustcl.composition.again import evaluate_again

    with Progress() as progress:
        finished = evaluate_again(
            Path(run), protocol, route, attacks, samples, watcher=progress.watch, say=progress.say
        )
    conclude(finished, as_json)
