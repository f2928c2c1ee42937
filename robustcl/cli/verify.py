"""``robustcl verify``: what is reported, held against the witnesses that lie beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustcl.cli.parts import as_json
from robustcl.errors import ProofFailed

if TYPE_CHECKING:
    from robustcl.proof.rows import ProvenRow
    from robustcl.proof.verification import Verification


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", metavar="RUN|FOLDER", type=click.Path(path_type=Path))
@click.option("--model", help="The model of FOLDER, where no recipe has trained it: module:function.")
@click.option("--weights", type=click.Path(dir_okay=False, path_type=Path), help="Weights of --model.")
@click.option("--dataset", help="Data set, where its name has changed: npz:FILE of this machine.")
@click.option("--data-dir", help="File or folder of the data set on this machine.")
@click.option("--device", help='"auto", "cpu", "cuda" or "cuda:1"  [default: as it was judged]')
@as_json
def command(folder: Path, as_json: bool, **given: Any) -> int:
    """Show that the accuracies of RUN or FOLDER are upper bounds, by one forward pass an image.

    Each adversary that was kept must lie in the ball and in the range and fool the very model on the very image that
    were judged. Exit code 3 where a number is not proven, or a part was changed.
    """
    from robustcl.cli.runs import ProgressBar
    from robustcl.proof.models import Here
    from robustcl.proof.verification import verify

    with ProgressBar() as progress:
        found = verify(folder, Here(**given), progress.say)
    if as_json:
        click.echo(json.dumps(found.as_json()))
        return 0 if found.holds else ProofFailed.exit_code
    return tell(found)


def tell(found: Verification) -> int:
    """Print what became of each number; returns the exit code."""
    for row in found.rows:
        _tell(row)
    if found.digest is not None:
        click.echo(f"sha256 of the whole folder: {found.digest}")
    proven = sum(row.holds for row in found.rows)
    click.echo(f"{proven} of {len(found.rows)} numbers are proven")
    return 0 if found.holds else ProofFailed.exit_code


def _tell(row: ProvenRow) -> None:
    how = f"{row.mistakes} wrong as they are" + (f", {row.witnesses} by a witness" if row.row.get("attack") else "")
    click.echo(f"{row.name}: at most {row.proven:.2%} proven, {row.reported:.2%} reported; {how}")
    if row.unproven:
        click.echo(f"  {row.unproven} images are called wrong, and were not seen to be")
    for fault in row.faults:
        click.echo(f"  {fault}")
