"""``robustcl doctor``: loads everything that is installed and says, one by one, what works."""

from __future__ import annotations

import importlib.util
import json
import platform
from typing import Any

import click

from robustcl import registry
from robustcl.errors import RobustclError
from robustcl.registry.installed import KINDS, Entry, version

EXTRAS = {"art": "art", "torchattacks": "torchattacks", "cuml": "cuml"}
"""What may be installed beside the distribution -> the module that it brings."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--json", "as_json", is_flag=True, help="Write JSON, for tools.")
def command(as_json: bool) -> int:
    """Load every plugin and say what works on this machine; exit code 1 if a plugin is broken."""
    plugins = [_try(entry) for kind in KINDS for entry in registry.entries(kind)]
    recipes = [str(error) for error in registry.broken_recipes()]
    broken = [plugin for plugin in plugins if plugin["state"] == "broken"]
    facts = _machine()
    extras = {name: importlib.util.find_spec(module) is not None for name, module in EXTRAS.items()}
    if as_json:
        whole = {"machine": facts, "extras": extras, "plugins": plugins, "broken_recipes": recipes}
        click.echo(json.dumps(whole, indent=2))
        return int(bool(broken or recipes))
    for fact, value in facts.items():
        click.echo(f"{fact}: {value}")
    for extra, there in extras.items():
        click.echo(f"extra {extra}: {'installed' if there else f'not installed (pip install robustcl[{extra}])'}")
    for plugin in plugins:
        cause = f": {plugin['cause']}" if plugin["cause"] else ""
        click.echo(f"{plugin['state']} {plugin['kind']} {plugin['name']} ({plugin['origin']}){cause}")
    for cause in recipes:
        click.echo(f"broken {cause}")
    click.echo(f"{len(plugins)} plugins, {len(broken)} broken")
    return int(bool(broken or recipes))


def _try(entry: Entry) -> dict[str, str]:
    """Load one plugin: it is ok, broken, or absent, as its ``available()`` says of this machine."""
    state, cause = "ok", ""
    try:
        cause = _unavailable(registry.load(entry))
        state = "absent" if cause else "ok"
    except RobustclError as error:
        state, cause = "broken", str(error)
    except Exception as error:  # one plugin's trouble must not hide the others
        state, cause = "broken", f"{type(error).__name__}: {error}"
    return {
        "kind": entry.kind,
        "name": entry.name,
        "origin": str(entry.origin),
        "state": state,
        "cause": cause,
    }


def _unavailable(cls: Any) -> str:
    from robustcl.options import build, describe  # after the plugin: what it lacks is told in its own words

    required = any(option.required for option in describe(cls))
    if required or not hasattr(cls, "available"):
        return ""
    return build(cls, {}, cls.__name__).instance.available() or ""


def _machine() -> dict[str, str]:
    import torch

    cuda = torch.cuda.is_available()
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())] if cuda else []
    return {
        "robustcl": version(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
        "cuda": ", ".join(names) or "none",
        "mps": "available" if torch.backends.mps.is_available() else "none",
    }
