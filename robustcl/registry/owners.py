"""Whose plugin a name means in a run that exists: that of the distribution which its lock names, and nobody else's."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from robustcl import registry
from robustcl.disk import read_toml
from robustcl.errors import AmbiguousPlugin, RobustclError, UnknownPlugin, UsageError
from robustcl.registry.installed import normal

LOCK = "recipe.lock.toml"

Owners = Mapping[str, object]
"""A lock's table of plugins: "kind name" -> distribution and version."""


def of_lock(lock: Mapping[str, object]) -> Owners:
    """Return who brought the plugins of a recipe's ``lock`` table; nobody in a recipe that is no lock."""
    found = lock.get("plugins")
    return found if isinstance(found, Mapping) else {}


def of_folder(folder: Path) -> Owners:
    """Return who brought the plugins of the run in which an encoder's folder lies; nobody where it lies in none."""
    for run in (folder.parent.parent, folder.parent.parent.parent):  # RUN/stages/NAME, RUN/stages/NAME/FOLLOWER
        if (run / LOCK).is_file():
            with contextlib.suppress(RobustclError):  # whoever opens the run says what is wrong with it
                lock = read_toml(run / LOCK).get("lock")
                return of_lock(lock) if isinstance(lock, Mapping) else {}
    return {}


def find(kind: str, name: str, owners: Owners, where: str = "") -> registry.FoundPlugin:
    """Return the plugin of a name, as ``registry.find``: that of the owner who is named, where one is.

    What a notebook added for a while (``registry.local``) may be installed by anybody since.

    Raises:
        UsageError: the plugin is another distribution's, or nobody's, or several distributions' and no owner is named.
    """
    said = str(owners.get(f"{kind} {name}", ""))
    owner = said.partition(" ")[0]
    told = f"the run was made with that of {said}"
    try:
        found = registry.find(kind, name, where)
    except AmbiguousPlugin as error:
        if not owner:
            raise
        try:
            return registry.find(kind, f"{owner}/{name.rpartition('/')[2]}", where)
        except UnknownPlugin:
            raise AmbiguousPlugin(f"{error}; {told}, which is not installed: install it again") from None
    except UnknownPlugin as error:
        if not owner or owner == registry.LOCAL:
            raise
        raise UnknownPlugin(f"{error}; {told}: install it again") from None
    now = found.origin
    if owner and owner != registry.LOCAL and normal(owner) != normal(now.distribution):
        raise UsageError(
            f"{where + ': ' if where else ''}the {kind} {name!r} is {now}'s, and {told}: install {owner} again, or "
            f"write {now.distribution + '/' + name!r} in the place of {name!r} to take the other one"
        )
    return found


def require(owners: Owners) -> None:
    """Hold every plugin that a lock names against what is installed, the data set's first; errors as ``find``."""
    for name in sorted(owners, key=lambda name: (not name.startswith("dataset "), name)):
        kind, _, plugin = name.partition(" ")
        if kind in registry.KINDS:
            find(kind, plugin, owners, kind)
