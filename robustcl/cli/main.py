"""The group ``robustcl``: its commands by name, each with the line that ``--help`` shows, none imported."""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import click

from robustcl.cli.output import shown
from robustcl.errors import UsageError

COMMANDS = {
    "compose": ("robustcl.cli.compose:command", "Compose a method from plugins, train it and judge it."),
    "run": ("robustcl.cli.run:command", "Run a recipe file."),
    "resume": ("robustcl.cli.resume:command", "Go on with an interrupted run."),
    "evaluate": ("robustcl.cli.evaluate:command", "Judge a trained encoder, or anybody's model."),
    "audit": ("robustcl.cli.audit:command", "Ask whether a robustness number can be trusted."),
    "measure": ("robustcl.cli.measure:command", "Measure the representation of a run, clean and attacked."),
    "transfer": ("robustcl.cli.transfer:command", "Judge each run on the adversaries of the others."),
    "merge": ("robustcl.cli.merge:command", "Join the shares of an evaluation."),
    "report": ("robustcl.cli.report:report", "Write the report page of one or several runs."),
    "compare": ("robustcl.cli.compare:command", "Lay runs side by side, with significance."),
    "export": ("robustcl.cli.export:command", "Write a run's numbers as RobustBench shapes them."),
    "study": ("robustcl.cli.study:command", "Make a table or figure of a paper anew."),
    "recipes": ("robustcl.cli.recipes:command", "List and show the recipes of all distributions."),
    "data": ("robustcl.cli.data:command", "Look at a data set before anything is trained on it."),
    "plugins": ("robustcl.cli.plugins:command", "List, show and check plugins."),
    "doctor": ("robustcl.cli.doctor:command", "Load every plugin and say what works on this machine."),
}
"""Name -> (module:function, summary)."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, and not to list them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of ``COMMANDS``."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, function = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), function)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Name the near commands for one that does not exist, and refuse flags without a value."""
        _refuse_empty(args)
        near = difflib.get_close_matches(args[0], COMMANDS, n=1)
        if args[0] not in COMMANDS and near:
            ctx.fail(f"there is no command {args[0]!r}; did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the summaries without importing the commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


def _refuse_empty(words: Sequence[str]) -> None:
    """Refuse ``--budget ""`` and ``--budget=``: a shell variable that is not set is no answer to a question."""
    for word, value in pairwise([*words, None]):
        if word is not None and word.startswith("--") and len(word) > 2 and (value == "" or word.endswith("=")):
            raise UsageError(f"{word.rstrip('=')} is followed by an empty text: give a value, or leave the flag out")


def _version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        from robustcl.installed import version  # brings importlib.metadata

        click.echo(f"robustcl {version()}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error (also ROBUSTCL_DEBUG=1).")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@click.pass_context
def robustcl(ctx: click.Context, debug: bool) -> None:
    """Adversarially robust contrastive learning, composed instead of forked."""
    ctx.with_resource(shown())
    if debug:
        os.environ["ROBUSTCL_DEBUG"] = "1"
