"""``robustcl claims``: what papers claim, and what finished studies have shown of it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from robustcl.cli.parts import as_json
from robustcl.errors import UsageError
from robustcl.terminal.width import columns, fold


@click.command(name="claims", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("studies", nargs=-1, metavar="[STUDY-DIR]...", type=click.Path(path_type=Path))
@as_json
@click.option("--markdown", "as_markdown", is_flag=True, help="Write Markdown, a table for each paper.")
def command(studies: tuple[Path, ...], as_json: bool, as_markdown: bool) -> None:
    """List the claims of all studies, with what the given finished ones have shown.

    A STUDY-DIR is the directory of a finished study, or a claims.json that was copied from one.
    """
    from robustcl.study.ledger import wording
    from robustcl.study.ledger.entries import open_ledger

    if as_json and as_markdown:
        raise UsageError("--json and --markdown are two forms of one list: give one of them")
    found = open_ledger(studies)
    if as_json:
        click.echo(json.dumps({"claims": wording.records(found), "notes": list(found.notes)}, ensure_ascii=False))
        return
    if as_markdown:
        click.echo(wording.markdown(found), nl=False)
        return
    click.echo(fold(wording.text(found), columns()))
