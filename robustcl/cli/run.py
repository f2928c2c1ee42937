"""``robustcl run``: a recipe file, trained, judged and reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from robustcl.cli.parts import add_machine, add_settings, refuse_time, store, timed


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--budget", help="A budget that the file has, e.g. smoke; paper: as it is  [default: as it stands]")
@add_settings
@add_machine
@store
@click.option("--dry-run", is_flag=True, help="Print the composition and its cost, and stop: nothing is trained.")
@timed
def command(
    file: str,
    budget: str | None,
    name: str | None,
    overrides: tuple[str, ...],
    seed: int | None,
    dry_run: bool,
    timed: bool,
    **flags: Any,
) -> None:
    """Run a recipe FILE: one saved by compose, a run's recipe.lock.toml, or your own."""
    refuse_time(timed, dry_run)
    from robustcl.api import from_file

    composition = from_file(Path(file), overrides, seed, budget, name)
    if dry_run:
        from robustcl.cli import dry_run as dry

        dry.show(composition, device=flags["device"], precision=flags["precision"], timed=timed)
        return
    from robustcl.cli.runs import train

    train(composition, **flags)
