"""``robustcl data``: what is in a data set, before anything is trained on it."""

from __future__ import annotations

import json

import click

from robustcl.cli.parts import as_json
from robustcl.terminal import printable


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Look at data sets before anything is trained on them."""


@command.command()
@click.argument("dataset")
@click.option("--data-dir", help="File or folder of the data set.")
@click.option(
    "--set", "overrides", multiple=True, metavar="data.KEY=VALUE",
    help="An option of the data set, or data.validation, e.g. data.layout=channels-last.",
)  # fmt: skip
@click.option(
    "--split", "splits", multiple=True, metavar="train|pretrain|test",
    help="Look at this split alone; may be given several times.",
)  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the run that would hold images out.")
@as_json
def check(
    dataset: str, data_dir: str | None, overrides: tuple[str, ...], splits: tuple[str, ...], seed: int, as_json: bool
) -> int:
    """Say what is in DATASET, named as --dataset names it elsewhere: digits, cifar10, npz:FILE, imagefolder:FOLDER.

    Every image is looked at: shapes, types, ranges, mean and deviation, classes of each split, gaps in the labels,
    copies within and between splits and whether their labels agree, images of one value, files that cannot be read or
    were left out, and what a run would hold out for validation.

    Exit code 0 where a run could start, whatever there is to know; 1 where it could not, with each reason; 2 where no
    split can be opened, or there is no such data set.
    """
    from robustcl.cli.runs import ProgressBar
    from robustcl.errors import DataError
    from robustcl.inspection.data import SPLITS, check_data

    with ProgressBar() as progress:
        found = check_data(
            dataset, data_dir=data_dir, overrides=overrides, splits=splits or SPLITS, seed=seed,
            told=lambda split, done, images: progress.watch(split, done, images, {}),
        )  # fmt: skip
    if not found.splits:
        raise DataError("; ".join(found.faults))
    click.echo(json.dumps(found.tables(), indent=1) if as_json else printable(str(found)))
    return 0 if found.ok else 1
