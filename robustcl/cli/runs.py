"""What a person sees while a run works, and at its end."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
import tomli_w

from robustcl import ranks
from robustcl.api import Composition
from robustcl.disk import as_usage, write_atomically
from robustcl.errors import UsageError
from robustcl.recipe.made import headline, of_results
from robustcl.run.execution import Run
from robustcl.terminal import printable
from robustcl.terminal.progress import ProgressBar as ProgressBar


def train(composition: Composition, out: str | None, *, as_json: bool, **where: Any) -> None:
    """Train a composition and conclude; ``where`` are the options of ``Composition.train``."""
    with ProgressBar() as progress:
        recipe = composition.recipe
        for line in [*headline(recipe.name, recipe.seed, recipe.made), *composition.how]:
            progress.say(line)
        run = composition.train(out, **where, watcher=progress.watch, say=progress.say, report=False)
    conclude(run, as_json)


def conclude(run: Run, as_json: bool) -> None:
    """Write the report page and print the result table, or the results as JSON."""
    from robustcl import report

    if ranks.rank() != 0:
        return
    judged = bool(run.results.tables["rows"])
    page = report.write(run.path) if judged else None
    if as_json:
        click.echo(json.dumps(run.results.tables))
        return
    if judged:
        tables = run.results.tables
        said = headline(str(tables.get("name")), tables.get("seed"), of_results(tables))
        click.echo("\n".join(map(printable, said)))
        click.echo(printable(report.table({str(tables.get("name")): tables})))
    click.echo(printable(f"run     {run.path}"))
    click.echo(f"report  {page or 'none: the recipe evaluates nothing'}")
    sys.stdout.flush()


def save_recipe(composition: Composition, path: Path) -> None:
    """Keep the composed recipe as TOML, in the place of no other file."""
    content = tomli_w.dumps(dict(composition.tables)).encode()
    try:
        other = path.is_file() and path.read_bytes() != content
    except OSError as error:
        raise UsageError(f"--save {path} cannot be read: {(error.strerror or str(error)).lower()}") from None
    if other:
        raise UsageError(f"--save {path} exists and is not this recipe: choose another file, or remove it")
    with as_usage(f"--save {path}", "choose another file"):
        write_atomically(path, content)
