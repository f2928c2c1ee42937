"""Flags that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from robustcl.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])


device = click.option("--device", default="auto", show_default=True, help='"auto", "cpu", "cuda" or "cuda:1".')
precision = click.option(
    "--precision",
    type=click.Choice(["32-true", "bf16-mixed", "64-true"]),
    default="32-true",
    show_default=True,
    help="Precision of the encoders; losses and verdicts stay in float32.",
)
timed = click.option("--time", "timed", is_flag=True, help="With --dry-run: hours on this machine, by timed steps.")
store = click.option(
    "--store",
    metavar="DIR",
    help="Take finished stages from this folder and keep them there, or none  [default: ROBUSTCL_STORE, else none]",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Write the results as JSON, for tools.")


def add_machine(function: Command) -> Command:
    """Add the flags that say where a run computes."""
    options = [
        device,
        click.option(
            "--devices", type=click.IntRange(1), default=1, show_default=True, help="Processes that train together."
        ),
        precision,
        click.option("--out", help="Run directory  [default: a new one below runs/]"),
        as_json,
    ]
    for option in reversed(options):
        function = option(function)
    return function


def add_settings(function: Command) -> Command:
    """Add ``--set``, ``--seed`` and ``--name``."""
    function = click.option("--name", help="Name of the run  [default: the recipe's, and the parts put into it]")(
        function
    )
    function = click.option("--seed", type=int, help="Seed of everything random  [default: the recipe's, 0]")(function)
    return click.option(
        "--set", "overrides", multiple=True, metavar="PATH=VALUE",
        help="Change anything in the recipe, e.g. stage.robust.generator.steps=10.",
    )(function)  # fmt: skip


def refuse_time(timed: bool, dry_run: bool) -> None:
    """Refuse ``--time`` where something is trained."""
    if timed and not dry_run:
        raise UsageError("--time measures for --dry-run, and this would train: add --dry-run, or leave --time out")


def refuse_others(given: dict[str, Any], names: tuple[str, ...], of_run: bool) -> None:
    """Refuse a flag that the other kind of subject alone would read."""
    for name in names:
        if given[name] not in (None, ()):  # a seed of 0 is given too
            subject, other = ("a run", "--model") if of_run else ("--model", "a run")
            raise UsageError(f"--{name.replace('_', '-')} is for {other}, not for {subject}: leave it out")
