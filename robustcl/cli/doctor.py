"""``robustcl doctor``: loads everything that is installed and says, one by one, what works."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import platform

import click

from robustcl import registry
from robustcl.errors import RobustclError
from robustcl.installed import KINDS, Entry

EXTRAS = {"art": "art", "torchattacks": "torchattacks", "cuml": "cuml"}
"""Extra of the distribution -> the module that it brings."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--json", "as_json", is_flag=True, help="Write JSON, for tools.")
def command(as_json: bool) -> int:
    """Load every plugin and say what works on this machine; exit code 1 if a plugin is broken."""
    plugins = [_try(entry) for kind in KINDS for entry in registry.entries(kind)]
    recipes = [str(error) for error in registry.broken_recipes()]
    broken = [plugin for plugin in plugins if plugin["cause"]]
    facts = _machine()
    extras = {name: importlib.util.find_spec(module) is not None for name, module in EXTRAS.items()}
    if as_json:
        whole = {"machine": facts, "extras": extras, "plugins": plugins, "broken_recipes": recipes}
        click.echo(json.dumps(whole, indent=2))
        return int(bool(broken or recipes))
    for fact, value in facts.items():
        click.echo(f"{fact}: {value}")
    for extra, there in extras.items():
        click.echo(
            f"extra {extra}: {'installed' if there else f'not installed (pip install robustcl[{extra}])'}"
        )
    for plugin in plugins:
        click.echo(
            f"{'BROKEN' if plugin['cause'] else 'ok    '} {plugin['kind']} {plugin['name']} ({plugin['origin']})"
        )
        if plugin["cause"]:
            click.echo(f"       {plugin['cause']}")
    for cause in recipes:
        click.echo(f"BROKEN {cause}")
    click.echo(f"{len(plugins) - len(broken)} of {len(plugins)} plugins load")
    return int(bool(broken or recipes))


def _try(entry: Entry) -> dict[str, str]:
    cause = ""
    try:
        cls = registry.load(entry)
        from robustcl.options import (
            model_of,
        )  # after the plugin, so that a broken installation is told in its words

        model_of(cls)
    except RobustclError as error:
        cause = str(error)
    return {"kind": entry.kind, "name": entry.name, "origin": str(entry.origin), "cause": cause}


def _machine() -> dict[str, str]:
    import torch

    cuda = torch.cuda.is_available()
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())] if cuda else []
    return {
        "robustcl": _version("robustcl"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
        "cuda": ", ".join(names) or "none",
        "mps": "available" if torch.backends.mps.is_available() else "none",
    }


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
