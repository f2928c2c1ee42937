"""``robustcl recipes``: the recipes of all installed distributions."""

from __future__ import annotations

import json

import click

from robustcl import registry


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """List and show the recipes of all distributions."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Write JSON, for tools.")
def list_(as_json: bool) -> None:
    """List the recipes with their origin."""
    rows = [{"name": name, "origin": str(origin)} for name, origin in registry.recipes().items()]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        click.echo(f"{row['name']:<{width}}  {row['origin']}")


@command.command()
@click.argument("name")
def show(name: str) -> None:
    """Print the recipe NAME as TOML."""
    click.echo(registry.recipe_text(name), nl=False)
