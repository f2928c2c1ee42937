"""``robustcl measure RUN``: what the representation of a finished run is like, clean and attacked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from robustcl.cli.parts import as_json
from robustcl.measures.catalogue import NUMBERS, choose_measures


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--what",
    multiple=True,
    metavar="NAME",
    help=f"Only this measure; may be given several times: {', '.join(NUMBERS)}.",
)
@click.option("--samples", type=int, help="Images drawn by the run's seed  [default: those that the evaluation judges]")
@click.option("--attack", metavar="NAME", help="Attack or generator  [default: the first of the recipe]")
@click.option(
    "--split", default="test", show_default=True, metavar="test|validation", help="Where they are drawn from."
)
@click.option("--protocol", help="Protocol whose classifier is taken  [default: the first of the recipe]")
@click.option("--route", help="Batch-norm branch  [default: the first that the recipe judges]")
@as_json
def command(run: Path, what: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Measure the representation of a finished RUN on clean and attacked images, and show it in its report.

    R-DIV, class distances, alignment, uniformity, silhouette, separability, drops, entropies, loss landscapes, inverted
    features and a map. They go into RUN/representation.json; what was measured before of the same weights stays there.
    """  # fmt: skip
    choose_measures(what)  # a misspelt name is told before anything is loaded
    from robustcl.analysis.measure.run import MeasureQuestion, measure
    from robustcl.cli.runs import ProgressBar

    with ProgressBar() as progress:
        entry = measure(
            run, what, MeasureQuestion(**given),
            told=lambda part, done, total: progress.watch(part, done, total, {}), say=progress.say,
        )  # fmt: skip
    page = _page(run)
    if as_json:
        click.echo(json.dumps(entry))
        return
    for line in _lines(entry, choose_measures(what)):
        click.echo(line)
    click.echo(f"measures  {run / 'representation.json'}")
    if page is not None:
        click.echo(f"report    {page}")


def _page(run: Path) -> Path | None:
    """Write the report anew, where the run has results to report."""
    if not (run / "results.json").is_file():
        return None
    from robustcl import report

    return report.write(run)


def _lines(entry: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    """Return the numbers as a table for a terminal."""
    from robustcl.evaluate import aim  # brings torch

    about = entry["question"]
    yield (
        f"{about['samples']} {about['split']} images, {about['protocol']} on route {about['route']}, "
        f"{aim.of_table(about['attack'])} within {about['norm']} {about['eps']:.4g}"
    )
    width = max(len(number.label) for numbers in NUMBERS.values() for number in numbers)
    yield f"{'':{width}}  {'clean':>9}  {'attacked':>9}  range"
    for name in names:
        if name in entry["refused"]:
            yield f"{name}: not measured, {entry['refused'][name]}"
            continue
        for number in NUMBERS[name]:
            value = entry["values"][name][number.key]
            if isinstance(value, dict):
                told = f"{_cell(value['clean']):>9}  {_cell(value['attacked']):>9}"
            else:
                told = f"{_cell(value):^20}"
            yield f"{number.label:{width}}  {told}  {number.bounds}"


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
