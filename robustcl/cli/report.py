"""``robustcl report RUN...``: the page of one run, or the table of several."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import click

from robustcl.errors import UsageError


@click.command(name="report")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the page goes; default RUN/report.html for one run, no page for several.",
)
@click.option(
    "--projection",
    type=click.Choice(["t-sne", "pca"]),
    default="t-sne",
    show_default=True,
    help="How the map of representations is drawn.",
)
def command(runs: tuple[Path, ...], out: Path | None, projection: str) -> None:
    """Write the report of a finished run, or compare several.

    One RUN gives one self-contained page, RUN/report.html. Several print the table of robustcl compare, with columns
    that may be mixed, and --out makes it a page.
    """
    if out is not None:
        _refuse_other_files(out)
    from robustcl import report as pages  # pandas, matplotlib and scikit-learn take a second to import

    if len(runs) == 1:
        written = pages.write(runs[0], out=out, projection="pca" if projection == "pca" else "t-sne")
        click.echo(f"report: {written}")
        return
    from robustcl import comparison

    made = comparison.compare(runs, allow_mixed=True)
    click.echo(comparison.render(made), nl=False)
    if out:
        click.echo(f"report: {comparison.write(made, out, 'html', force=True)}")


def _refuse_other_files(out: Path) -> None:
    """Refuse to write a page over a file that is none: a recipe, say, or a run's results."""
    try:
        with open(out, "rb") if out.is_file() else nullcontext() as there:
            begins = there.read(len(_PAGE)) if there is not None else b""
    except OSError as error:
        raise UsageError(f"--out {out} cannot be read: {(error.strerror or str(error)).lower()}") from None
    if begins and begins.lower() != _PAGE:
        raise UsageError(f"--out {out} is there and is no page: name another file")


_PAGE = b"<!doctype html>"
