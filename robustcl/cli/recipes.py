"""``robustcl recipes``: the recipes of all installed distributions."""

from __future__ import annotations

import json

import click
import tomli_w

from robustcl import registry
from robustcl.errors import UsageError
from robustcl.recipe import inherit
from robustcl.recipe.inherit import summary


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """List and show the recipes of all distributions."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Write JSON, for tools.")
def list_(as_json: bool) -> None:
    """List the recipes with what they are and their origin."""
    rows = [{"name": name, "about": _about(name), "origin": str(origin)} for name, origin in registry.recipes().items()]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        click.echo(f"{row['name']:<{width}}  {row['about']}  [{row['origin']}]")


@command.command()
@click.argument("name")
@click.option("--whole", is_flag=True, help="Fill in the recipe that it extends.")
def show(name: str, whole: bool) -> None:
    """Print the recipe NAME as TOML."""
    click.echo(tomli_w.dumps(inherit.read_installed(name)) if whole else registry.recipe_text(name), nl=False)


def _about(name: str) -> str:
    try:
        return summary(inherit.read_installed(name).get("about", ""))
    except UsageError as error:
        return f"broken: {error}"
