"""Entry points to plugins: lazy, isolated, clash-aware, with their origin. Names are read without imports.

Each kind has a group, ``robustcl.generators`` and so on; ``robustcl.recipes``, ``robustcl.studies`` and
``robustcl.presets``, whose files are attacks, name packages of TOML files. A plugin is asked for as ``name``, as
``distribution/name`` where two distributions offer the name, and as ``name:VALUE`` where the class says with
``preset = "attack"`` which option the part after the colon fills.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from types import MappingProxyType

from robustcl.errors import AmbiguousPlugin, BrokenPlugin, NotAPlugin, RobustclError, UnknownPlugin, UsageError
from robustcl.registry import packages
from robustcl.registry.installed import LOCAL, Entry, Origin, scan
from robustcl.registry.lookup import added, check_kind, choose, entries, labels


@dataclass(frozen=True, slots=True)
class FoundPlugin:
    """A resolved plugin: its class, the options that its name presets, and its origin."""

    cls: type
    preset: Mapping[str, str]
    origin: Origin


def names(kind: str) -> list[str]:
    """Return the names of a kind, sorted, as ``get`` takes them; nothing is imported.

    A name that two distributions offer appears once for each, as ``distribution/name``.
    """
    return sorted(labels(entries(kind)))


def get(kind: str, name: str) -> type:
    """Import one plugin's class and nothing else; see ``find``."""
    return find(kind, name).cls


def find(kind: str, name: str, where: str = "") -> FoundPlugin:
    """Resolve ``name``, ``distribution/name`` or ``name:VALUE``: the class, its preset options, its origin.

    ``where`` (a recipe line or a flag) opens every error: ``UnknownPlugin``, ``AmbiguousPlugin``,
    ``BrokenPlugin``, ``NotAPlugin``, or ``UsageError`` for a colon that this plugin does not take.
    """
    head, colon, value = name.partition(":")
    try:
        entry = choose(kind, head, entries(kind))
        cls = load(entry)
        preset = {_preset(entry, cls, name, value): value} if colon else {}
    except RobustclError as error:
        raise type(error)(f"{where}: {error}" if where else str(error)) from error.__cause__
    return FoundPlugin(cls, MappingProxyType(preset), entry.origin)


def origin(kind: str, name: str) -> Origin:
    """Return who brings a plugin, without importing it."""
    return choose(kind, name.partition(":")[0], entries(kind)).origin


def recipes() -> Mapping[str, Origin]:
    """Return the names of all recipes with their origin; packages that cannot be read are left out."""
    return _named("recipe")


def recipe_text(name: str) -> str:
    """Return the TOML text of a recipe, ``name`` or ``distribution/name``."""
    return _text("recipe", name)


def broken_recipes() -> list[BrokenPlugin]:
    """Return what is wrong with each package of recipes, studies or presets that cannot be read."""
    return [error for kind in ("recipe", "study", "preset") for error in packages.files(kind)[1]]


def studies() -> Mapping[str, Origin]:
    """Return the names of all studies with their origin; packages that cannot be read are left out."""
    return _named("study")


def study_text(name: str) -> str:
    """Return the TOML text of a study, ``name`` or ``distribution/name``."""
    return _text("study", name)


@contextmanager
def local(kind: str, name: str, cls: type) -> Iterator[type]:
    """Add a plugin inside a ``with``, for notebooks and tests; its distribution is ``local``.

    Several may be nested. A name that is installed too becomes ambiguous: ``local/name`` selects.
    """
    check_kind(kind)
    if not isinstance(name, str) or not isinstance(cls, type):
        raise UsageError(
            f"registry.local(kind, name, cls) was given {name!r} as the name and {cls!r} as the class: "
            "the name comes second, the class third"
        )
    if any((entry.kind, entry.name) == (kind, name) for entry in added.get()):
        raise AmbiguousPlugin(f"the {kind} {name!r} is local already; leave that 'with' first, or rename this one")
    entry = Entry(kind, name, Origin(LOCAL, "", f"{cls.__module__}:{cls.__qualname__}"), cls)
    load(entry)
    token = added.set((*added.get(), entry))
    try:
        yield cls
    finally:
        added.reset(token)


def refresh() -> None:
    """Forget the metadata scan, after installing a distribution into a running process."""
    scan.cache_clear()
    packages.refresh()
    if (made := sys.modules.get("robustcl.registry.presets")) is not None:  # brings torch
        made.refresh()


def load(entry: Entry) -> type:
    """Import the class of one entry and check it; ``BrokenPlugin`` or ``NotAPlugin`` names the owner."""
    cls = entry.source
    if isinstance(cls, EntryPoint):
        try:
            cls = cls.load()
        except (Exception, SystemExit) as error:  # a stranger's import may raise anything
            raise packages.say_broken(entry, error) from error
    elif not isinstance(cls, type):
        cls = _of_preset(entry)
    judge = _faults_once if entry.source is not cls and isinstance(cls, type) else _faults
    if wrong := judge(entry.kind, cls):
        raise NotAPlugin(f"{entry} {' and '.join(wrong)}; robustcl.protocols says what a {entry.kind} must offer")
    checked: type = cls
    return checked


def _faults(kind: str, cls: type) -> list[str]:
    from robustcl.registry.members import faults  # brings torch, as the plugin just did

    return faults(kind, cls)


_faults_once = functools.cache(_faults)
"""An installed class is looked up thousands of times while parts are composed, and stays what it is."""


def _of_preset(entry: Entry) -> type:
    """Return the class of an attack that is written as a preset; its own distribution's generator comes first."""
    from robustcl.registry import presets  # brings torch

    use, owner = presets.read(entry).use, entry.origin.distribution
    own = any(each.qualified == f"{owner}/{use.partition(':')[0]}" for each in entries("generator"))
    found = find("generator", f"{owner}/{use}" if own else use, str(entry))
    return presets.make(entry, found.cls, tuple(found.preset.items()))


def _named(kind: str) -> dict[str, Origin]:
    return dict(sorted((label, entry.origin) for label, entry in labels(packages.files(kind)[0]).items()))


def _text(kind: str, name: str) -> str:
    files, broken = packages.files(kind)
    try:
        return str(choose(kind, name, files).source.read_text(encoding="utf-8"))
    except UnknownPlugin as error:
        raise UnknownPlugin("; ".join(map(str, [error, *broken]))) from None


def _preset(entry: Entry, cls: type, name: str, value: str) -> str:
    option = getattr(cls, "preset", None)
    if not isinstance(option, str):
        raise UsageError(f"the {entry.kind} {name!r} takes nothing after a colon; write {entry.name!r}")
    if not value.strip():
        raise UsageError(f"{name!r} names nothing after the colon; write '{entry.name}:{option.upper()}'")
    return option
