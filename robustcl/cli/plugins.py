"""``robustcl plugins``: what is installed, what it takes, and whether a distribution keeps its promises."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from robustcl import registry
from robustcl.errors import AmbiguousPlugin, UnknownPlugin, near
from robustcl.registry.installed import KINDS, normal
from robustcl.terminal import align

kind_option = click.option("--kind", type=click.Choice(KINDS), help="Only this kind of plugin.")
json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON, for tools.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """List, show and check plugins."""


@command.command("list")
@kind_option
@json_option
def list_(kind: str | None, as_json: bool) -> None:
    """List the plugins of all distributions; imports none of them."""
    rows = [
        {
            "kind": one,
            "name": label,
            "distribution": entry.origin.distribution,
            "version": entry.origin.version,
        }
        for one in ([kind] if kind else KINDS)
        for label, entry in sorted(registry.labels(registry.entries(one)).items())
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    click.echo(align(["KIND", "NAME", "DISTRIBUTION", "VERSION"], [list(row.values()) for row in rows]))


@command.command()
@click.argument("name")
@kind_option
@json_option
def show(name: str, kind: str | None, as_json: bool) -> None:
    """Show one plugin: its options with types, defaults and bounds, its needs and its citation."""
    facts = _facts(kind or _only_kind(name), name)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    said = f"{'an' if facts['kind'][0] in 'aeiou' else 'a'} {facts['kind']}"
    click.echo(f"{facts['name']}, {said} of {facts['distribution']} {facts['version']}".rstrip())
    click.echo(f"  {facts['target']}")
    if facts["doc"]:
        click.echo(f"\n{facts['doc']}")
    click.echo(f"\nCitation: {facts['citation']}")
    click.echo(f"Needs: {'; '.join(facts['needs'].values()) or 'nothing'}")
    for member in ("views", "terms"):
        if facts[member]:
            click.echo(f"{member.capitalize()}: {', '.join(facts[member])}")
    for line in facts["adaptation"]:
        click.echo(line)
    if not facts["options"]:
        click.echo("Options: none")
        return
    rows = [[o["name"], o["type"], o["constraints"], _shown(o), o["doc"]] for o in facts["options"]]
    click.echo("\n" + align(["OPTION", "TYPE", "BOUNDS", "DEFAULT", ""], rows))


@command.command()
@click.argument("distribution")
@json_option
def check(distribution: str, as_json: bool) -> int:
    """Run the conformance suite on every plugin of a distribution; exit code 1 if a check fails."""
    owners = {entry.origin.distribution for kind in KINDS for entry in registry.entries(kind)}
    if normal(distribution) not in map(normal, owners):
        known = ", ".join(sorted(owners)) or "none"
        raise UnknownPlugin(f"no installed distribution {distribution!r} registers plugins; there are: {known}")
    from robustcl.testing import check_distribution

    reports = check_distribution(distribution)
    failed = [report for report in reports if not report.ok]
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(report) for report in reports], indent=2))
        return int(bool(failed))
    for report in reports:
        click.echo(str(report))
    skipped = sum(report.skipped for report in reports)
    passed = len(reports) - len(failed) - skipped
    click.echo(f"{distribution}: {passed} checks passed, {skipped} skipped, {len(failed)} failed")
    return int(bool(failed))


def _only_kind(name: str) -> str:
    """Return the kind that has this name; several kinds may."""
    plain = name.partition(":")[0].rpartition("/")[2]
    kinds = [kind for kind in KINDS if any(entry.name == plain for entry in registry.entries(kind))]
    if not kinds:
        known = {entry.name for kind in KINDS for entry in registry.entries(kind)}
        hint = near(plain, known) or "; 'robustcl plugins list' shows all"
        raise UnknownPlugin(f"no installed distribution offers a plugin called {name!r}{hint}")
    if len(kinds) > 1:
        flags = " or ".join(f"--kind {kind}" for kind in kinds)
        raise AmbiguousPlugin(f"{name!r} names several plugins; add {flags}")
    return kinds[0]


def _facts(kind: str, name: str) -> dict[str, Any]:
    found = registry.find(kind, name)
    from robustcl.options import describe  # brings pydantic
    from robustcl.recipe import adaptation

    cls: Any = found.cls
    options = [
        {
            "name": option.name,
            "type": option.type,
            "constraints": option.constraints,
            "required": option.required,
            "default": None if option.required else _plain(option.default),
            "doc": option.doc,
        }
        for option in describe(cls)
    ]
    return {
        "kind": kind,
        "name": name,
        "distribution": found.origin.distribution,
        "version": found.origin.version,
        "target": found.origin.target,
        "doc": (cls.__doc__ or "").strip().partition("\n\n")[0],
        "citation": cls.citation,
        "needs": {need.name: need.value for need in sorted(cls.needs, key=lambda need: str(need.name))},
        "views": _texts(getattr(cls, "views", ())),
        "terms": _texts(getattr(cls, "terms", ())),
        "adaptation": adaptation.say(adaptation.read(cls, name)) if kind == "dataset" else [],
        "options": options,
    }


def _texts(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, (tuple, list)) else []


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


def _shown(option: dict[str, Any]) -> str:
    if option["required"]:
        return "required"
    return f"{option['default']:.6g}" if isinstance(option["default"], float) else str(option["default"])
