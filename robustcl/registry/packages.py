"""Files of TOML in installed packages: recipes, studies and presets of attacks, by the names of the files."""

from __future__ import annotations

import functools
from dataclasses import replace

from robustcl.errors import BrokenPlugin
from robustcl.registry.installed import Entry, scan


def files(kind: str) -> tuple[list[Entry], list[BrokenPlugin]]:
    """Return the files of a kind, recipe, study or preset, and what is wrong with the packages that cannot be read."""
    found: list[Entry] = []
    broken: list[BrokenPlugin] = []
    for package in scan().get(kind, ()):
        try:
            found.extend(_files_of(package))
        except (Exception, SystemExit) as error:  # a stranger's package may raise anything
            broken.append(say_broken(package, error))
    return found, broken


@functools.cache
def presets() -> tuple[Entry, ...]:
    """Return the attacks that are written as presets, each with its file; packages that cannot be read are left out."""
    return tuple(
        replace(entry, kind="attack", origin=replace(entry.origin, target=f"{entry.origin.target}/{entry.name}.toml"))
        for entry in files("preset")[0]
    )


def say_broken(entry: Entry, error: BaseException) -> BrokenPlugin:
    """Return the error of what cannot be imported."""
    return BrokenPlugin(
        f"{entry} cannot be imported: {type(error).__name__}: {error}; mend or uninstall {entry.origin.distribution}"
    )


def refresh() -> None:
    """Forget which files there are."""
    _files_of.cache_clear()
    presets.cache_clear()


@functools.cache
def _files_of(package: Entry) -> tuple[Entry, ...]:
    from importlib.resources import files as within  # not needed to list plugins

    return tuple(
        Entry(package.kind, file.name.removesuffix(".toml"), package.origin, file)
        for file in within(package.origin.target).iterdir()
        if file.name.endswith(".toml")
    )
