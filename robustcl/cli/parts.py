"""Flags that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

import click
from click.core import ParameterSource

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
launcher = click.option(
    "--launcher",
    metavar="NAME|TABLE|FILE",
    help='What brings the tasks to machines: local, or \'{ use = "slurm", partition = "gpu" }\', or a .toml file.',
)
slots = click.option(
    "--slots", type=click.IntRange(1), help="How many tasks run at once; alone, with the launcher local."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Write the results as JSON, for tools.")


class _Devices(click.ParamType[int | str]):
    """A number of processes, or "auto"."""

    name = "auto|N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        return "auto" if value == "auto" else _COUNT.convert(value, param, ctx)


_COUNT = click.IntRange(1)


def add_processes(function: Command) -> Command:
    """Add ``--devices`` and ``--num-nodes``."""
    function = click.option(
        "--num-nodes", type=_COUNT, help="Machines on which torchrun, srun or Kubeflow has started it  [default: all]"
    )(function)
    return click.option(
        "--devices",
        type=_Devices(),
        help="Processes that train together on each machine; auto: one for each CUDA device  [default: those that "
        "torchrun, srun or Kubeflow has started, else 1]",
    )(function)


def add_machine(function: Command) -> Command:
    """Add the flags that say where a run computes."""
    options = [
        device,
        add_processes,
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


def refuse_numbered(device: str | None, launcher: str | None, slots: int | None) -> None:
    """Refuse one device of several for tasks that are given devices."""
    if device is not None and ":" in device and (launcher is not None or slots is not None):
        raise UsageError(f"--device {device}: each task is given a device of its own; write --device "
                         f"{device.partition(':')[0]}, or leave --launcher and --slots out")  # fmt: skip


def repeat(context: click.Context, without: Collection[str]) -> list[str]:
    """Return the words of the command line of a context that were given, but the options of some names."""
    words: list[str] = []
    for parameter in context.command.params:
        name, value = str(parameter.name), context.params.get(str(parameter.name))
        if name in without or context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        if isinstance(parameter, click.Argument):
            words[:0] = [f"./{value}" if str(value).startswith("-") else str(value)]
        elif isinstance(parameter, click.Option) and parameter.is_flag:
            words += [parameter.opts[0]] if value else []
        else:
            each = value if parameter.multiple and isinstance(value, tuple) else (value,)
            words += [f"{parameter.opts[0]}={one}" for one in each]
    return words


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
