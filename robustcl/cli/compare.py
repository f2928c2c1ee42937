"""``robustcl compare RUN...``: runs side by side, with spread over seeds and paired significance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from robustcl.terminal.width import columns, fold


@click.command(name="compare", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("runs", nargs=-1, required=True, metavar="[LABEL=]RUN...")
@click.option(
    "--by",
    type=click.Choice(["recipe", "name", "run"]),
    default="recipe",
    show_default=True,
    help="What makes runs one line: a recipe that differs in the seed alone, the name, or nothing.",
)
@click.option("--baseline", metavar="RUN", help="Run or method that all are tested against  [default: the best]")
@click.option("--metric", "metrics", multiple=True, help="Show only this metric, e.g. clean_acc; may be repeated.")
@click.option("--protocol", "protocols", multiple=True, help="Show only this protocol; may be repeated.")
@click.option("--route", "routes", multiple=True, help="Show this batch-norm branch, or all of them  [default: judged]")
@click.option(
    "--branch",
    "branches",
    multiple=True,
    metavar="LABEL=ROUTE",
    help="Which batch-norm branch of a run is judged, e.g. ncp=adv; may be repeated  [default: its recipe's]",
)
@click.option("--split", "splits", multiple=True, help="Show this split, or all of them  [default: test]")
@click.option("--allow-mixed", is_flag=True, help="Show columns whose runs were not measured alike, unranked.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["markdown", "latex", "csv", "html", "json"]),
    help="How it is written  [default: by the name of --out, else markdown]",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write, instead of printing.")
@click.option("--force", is_flag=True, help="Replace the file of --out if it exists.")
def command(runs: tuple[str, ...], form: Any, out: Path | None, force: bool, **choice: Any) -> None:
    """Lay finished RUNs side by side: a line per method, mean and standard deviation over its seeds.

    Differences are tested on the same images, from the runs' journals: McNemar's exact test for one seed each, a
    paired bootstrap for several, with Holm's correction. Runs that were not measured alike are refused.
    """
    from robustcl import comparison  # pandas and torch take a second to import

    made = comparison.compare(runs, **choice)
    if out is None and form in (None, "markdown"):
        click.echo(fold(comparison.markdown(made, columns()), columns()), nl=False)
        return
    if out is None:
        click.echo(comparison.render(made, form), nl=False)
        return
    click.echo(f"comparison: {comparison.write(made, out, form, force=force)}")
