"""``robustcl compose``: from parts to a trained, judged and reported encoder."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from robustcl.cli.parts import add_machine, add_settings, launcher, refuse_time, slots, store, timed
from robustcl.errors import UsageError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--recipe", help="Start from this recipe, or recipe file, and not from the objective's base recipe.")
@click.option("--generator", help="Perturbation generator.")
@click.option("--objective", help="Contrastive objective; its base recipe says the rest.")
@click.option("--selector", help="Sample selector of the last stage.")
@click.option("--target", help="Cluster target of the last stage.")
@click.option("--encoder", help="Backbone  [default: the one that suits the data set]")
@click.option("--dataset", help="Data set, e.g. digits, cifar10, npz:FILE  [default: the recipe's]")
@click.option("--data-dir", help="File or folder of the data set.")
@click.option("--budget", help="smoke, small, or paper: as published  [default: small; a file without it as it stands]")
@add_settings
@add_machine
@store
@click.option("--seeds", type=click.IntRange(1), help="Seeds 0 to N - 1, as a study of one row with its table.")
@launcher
@slots
@click.option("--save", type=click.Path(dir_okay=False), help="Keep the composed recipe in this file.")
@click.option("--dry-run", is_flag=True, help="Print the composition and its cost, and stop: nothing is trained.")
@timed
@click.option("--matrix", is_flag=True, help="Print which installed parts compose with which, and why others do not.")
def command(as_json: bool, save: str | None, dry_run: bool, timed: bool, matrix: bool, **given: Any) -> int:
    """Compose a method from plugins, train it and judge it.

    `robustcl compose --generator ncp --objective deacl` trains SimCLR, then NCP adversarial training, evaluates the
    encoder and writes a report.
    """
    if matrix:
        _print_matrix(as_json)
        return 0
    refuse_time(timed, dry_run)
    from robustcl.api import compose

    seeds, launched = given.pop("seeds"), _launched(given.pop("launcher"), given.pop("slots"))
    if launched and seeds is None:
        raise UsageError(f"{launched[0]} is for several runs: add --seeds N, or leave it out")
    flags = dict(given)
    machine = ("device", "devices", "num_nodes", "precision", "store")
    where = {name: given.pop(name) for name in ("out", *machine)}
    composition = compose(**given)
    if save is not None:
        from robustcl.cli.runs import save_recipe

        save_recipe(composition, Path(save))
    if dry_run:
        from robustcl.cli import dry_run as dry

        dry.show(composition, device=where["device"], precision=where["precision"], timed=timed)
        if seeds is not None:
            click.echo(f"seeds   {seeds}: each of them takes this")
        return 0
    if seeds is not None:
        from robustcl.cli.seeds import run_seeds

        return run_seeds(composition, flags, seeds, launched, as_json)
    from robustcl.cli.runs import train

    train(composition, as_json=as_json, **where)
    return 0


def _launched(launcher: str | None, slots: int | None) -> list[str]:
    """Return the flags that name a launcher, as they were given."""
    named = ["--launcher", launcher] if launcher is not None else []
    return [*named, *(["--slots", str(slots)] if slots is not None else [])]


def _print_matrix(as_json: bool) -> None:
    from robustcl.composition import matrix

    tables = matrix.pairs()
    if as_json:
        click.echo(json.dumps({title: [asdict(cell) for cell in cells] for title, cells in tables.items()}, indent=1))
    else:
        click.echo(matrix.markdown(tables), nl=False)
