"""``robustcl store``: the finished stages that runs share, listed, checked, and thinned out."""

from __future__ import annotations

import dataclasses
import datetime
import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from robustcl.errors import UsageError
from robustcl.terminal import align

if TYPE_CHECKING:
    from robustcl.store.entries import Store
    from robustcl.store.upkeep import Listed

place = click.option(
    "--store", "given", metavar="DIR", help="Its folder  [default: ROBUSTCL_STORE, else ~/.cache/robustcl]"
)
as_json = click.option("--json", "as_json", is_flag=True, help="Write the entries as JSON, for tools.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Look at the store of finished stages, which runs with equal beginnings share; check it, make room in it."""


@command.command("list")
@place
@as_json
def list_(given: str | None, as_json: bool) -> None:
    """List the stages in the store, the one that was taken last first."""
    from robustcl.store.upkeep import list_entries

    store = _open(given)
    _show(store, list_entries(store), as_json, "")


@command.command()
@place
@as_json
def verify(given: str | None, as_json: bool) -> int:
    """Read every byte of the store and hold it against the digests; exit code 1 where something is damaged.

    A run does the same with each stage that it takes; what is damaged is never taken, and replaced once the stage is
    trained again. `robustcl store prune --damaged` removes it.
    """
    from robustcl.store.upkeep import list_entries

    store = _open(given)
    found = list_entries(store, whole=True)
    damaged = [each for each in found if each.fault]
    _show(store, damaged, as_json, f"{len(found)} stages, {len(damaged)} damaged")
    return int(bool(damaged))


@command.command()
@place
@click.option("--older", metavar="AGE", help="Remove what nobody has taken for so long, e.g. 30d, 12h, 4w.")
@click.option("--keep", metavar="SIZE", help="Remove what was taken longest ago, until so much is left, e.g. 20G.")
@click.option("--damaged", is_flag=True, help="Read every byte, and remove what is damaged.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@as_json
def prune(given: str | None, older: str | None, keep: str | None, damaged: bool, dry_run: bool, as_json: bool) -> None:
    """Make room in the store: runs that have taken a stage have a copy of their own."""
    from robustcl.store import upkeep

    if older is None and keep is None and not damaged:
        raise UsageError("store prune removes nothing by itself: say what by --older 30d, --keep 20G or --damaged")
    age = None if older is None else upkeep.parse_age(older, "--older")
    most = None if keep is None else upkeep.parse_size(keep, "--keep")
    store = _open(given)
    gone = upkeep.choose_removed(upkeep.list_entries(store, whole=damaged), time.time(), age, most, damaged)
    if not dry_run:
        for each in gone:
            store.remove(each.key)
        store.clear_aside()
    said = (
        f"{'would be removed' if dry_run else 'removed'}: {len(gone)} stages, {_size(sum(one.bytes for one in gone))}"
    )
    _show(store, gone, as_json, said)


def _open(given: str | None) -> Store:
    from robustcl.store.entries import Store
    from robustcl.store.places import HOME, find_place

    place = find_place(given, HOME)
    if place is None:
        raise UsageError("there is no store: name its folder by --store, or unset ROBUSTCL_STORE")
    return Store(place)


_HEAD = ("key", "stage", "recipe", "data", "seed", "size", "kept", "last taken")


def _show(store: Store, entries: Sequence[Listed], as_json: bool, said: str) -> None:
    """Print entries as a table, or as JSON, and what came of it."""
    if as_json:
        rows = [{**dataclasses.asdict(each), "taken": _moment(each.taken)} for each in entries]
        click.echo(json.dumps({"store": str(store.folder), "entries": rows}, indent=1))
        return
    if entries:
        click.echo(align(_HEAD, [_cells(each) for each in entries]))
    for each in entries:
        if each.fault:
            click.echo(f"{each.key[:12]}: {each.fault}")
    whole = f"{len(entries)} stages, {_size(sum(each.bytes for each in entries))}"
    click.echo(f"store   {store.folder}: {said or whole}")


def _cells(each: Listed) -> tuple[str, ...]:
    words = (str(each.about.get(name, "?"))[:60] for name in ("stage", "recipe", "data", "seed"))
    return (each.key[:12], *words, _size(each.bytes), str(each.about.get("kept", "?"))[:20], _moment(each.taken))


def _moment(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
