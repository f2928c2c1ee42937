"""The group ``robustcl``: its commands by name, each with the line that ``--help`` shows, none imported."""

from __future__ import annotations

import difflib
import importlib
import os
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import click

from robustcl.cli.output import escape_output
from robustcl.errors import UsageError

COMMANDS = {
    "compose": ("robustcl.cli.compose:command", "Compose a method from plugins, train it and judge it."),
    "run": ("robustcl.cli.run:command", "Run a recipe file."),
    "resume": ("robustcl.cli.resume:command", "Go on with an interrupted run."),
    "evaluate": ("robustcl.cli.evaluate:command", "Judge a trained encoder, or anybody's model."),
    "audit": ("robustcl.cli.audit:command", "Ask whether a robustness number can be trusted."),
    "verify": ("robustcl.cli.verify:command", "Prove reported accuracies by the witnesses kept beside them."),
    "measure": ("robustcl.cli.measure:command", "Measure the representation of a run, clean and attacked."),
    "transfer": ("robustcl.cli.transfer:command", "Judge each run on the adversaries of the others."),
    "merge": ("robustcl.cli.merge:command", "Join the shares of an evaluation."),
    "report": ("robustcl.cli.report:command", "Write the report page of one or several runs."),
    "compare": ("robustcl.cli.compare:command", "Lay runs side by side, with significance."),
    "export": ("robustcl.cli.export:command", "Write a run's numbers as RobustBench shapes them."),
    "study": ("robustcl.cli.study:command", "Make a table or figure of a paper anew."),
    "claims": ("robustcl.cli.claims:command", "List what papers claim, and what was seen of it."),
    "store": ("robustcl.cli.store:command", "Look at the store of finished stages, check it, make room."),
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
        """Name the near commands for one that does not exist, and refuse flags without a value of their own."""
        _refuse_odd(args)
        near = difflib.get_close_matches(args[0].lower(), COMMANDS, n=1)
        if args[0] not in COMMANDS:
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(COMMANDS)}"
            ctx.fail(f"there is no command {args[0]!r}{hint}")
        _refuse_addresses(args)
        args = [_HOME.sub(lambda found: f"{found[1] or ''}{os.path.expanduser('~')}/", word) for word in args]
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None:
            _refuse_swallowed(command, rest)
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the summaries without importing the commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


def _refuse_odd(words: Sequence[str]) -> None:
    """Refuse ``--budget ""`` and ``--budget=``, which a shell variable leaves that is not set, and characters of 0."""
    for text in words:
        if "\0" in text:
            raise UsageError(f"{text!r} holds a character of value 0, which no name of a file or plugin has")
    for word, value in pairwise([*words, None]):
        if word is not None and word.startswith("--") and len(word) > 2 and (value == "" or word.endswith("=")):
            raise UsageError(f"{word.rstrip('=')} is followed by an empty text: give a value, or leave the flag out")


_HOME = re.compile(r"\A(--[\w-]+=)?~/")
"""A path below the home folder, where no shell has put the folder in: ``--out=~/x``, or quoted."""
_ADDRESS = re.compile(r"(?:[\w-]+:)?(?:https?|ftp|s3|gs|file)://", re.IGNORECASE)
_FREE = ("--set", "--link", "--footnote", "--authors", "--venue", "--name", "--reported")
"""Flags whose value may well be an address."""


def _refuse_addresses(words: Sequence[str]) -> None:
    """Refuse an address where a file is asked for: nothing is fetched, and a path would lose one of its slashes."""
    for before, word in pairwise(words):
        if before not in _FREE and _ADDRESS.match(word):
            raise UsageError(f"{word} is an address: nothing is fetched; give a file or folder of this machine")


def _refuse_swallowed(command: click.Command, words: Sequence[str]) -> None:
    """Refuse ``--out --json``: a flag whose value was forgotten would take the next flag for it."""
    commands = [command, *(command.commands.values() if isinstance(command, click.Group) else ())]
    options = [option for one in commands for option in one.params if isinstance(option, click.Option)]
    flags = {name for option in options for name in (*option.opts, *option.secondary_opts)}
    takes = {name for option in options if not option.is_flag for name in option.opts}
    for word, value in pairwise(words):
        if word == "--":
            return
        if word in takes and value in flags:
            raise UsageError(f"{word} is followed by the flag {value}: give {word} a value, or leave it out")


def _version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        from robustcl.registry.installed import version  # brings importlib.metadata

        click.echo(f"robustcl {version()}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error (also ROBUSTCL_DEBUG=1).")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@click.pass_context
def robustcl(ctx: click.Context, debug: bool) -> None:
    """Adversarially robust contrastive learning, composed instead of forked."""
    ctx.with_resource(escape_output())
    if debug:
        os.environ["ROBUSTCL_DEBUG"] = "1"
