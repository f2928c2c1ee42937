"""Plugins as a recipe names them: found, checked against their options, and remembered for the lock."""

from __future__ import annotations

from typing import Any

from robustcl import hooks, options, registry
from robustcl.errors import NotAPlugin, UsageError
from robustcl.hooks import PluginHooks
from robustcl.recipe import Use
from robustcl.registry import Origin, owners
from robustcl.registry.owners import Owners
from robustcl.train.plan import Part


class Parts:
    """Makes plugin instances for a composition and keeps who brought them and with which options."""

    def __init__(self, whose: Owners | None = None) -> None:
        """``whose`` says whose plugins are meant, as a lock does."""
        self.owners: Owners = whose or {}
        self.origins: dict[str, Origin] = {}
        self._resolved: dict[int, dict[str, Any]] = {}
        self._alive: list[Use] = []

    def make(self, kind: str, table: Use, where: str) -> Part:
        """Return the plugin of a table.

        Raises:
            UsageError: unknown or broken plugin, unknown option, a value out of bounds, or a part that cannot run here.
        """
        found = self.find(kind, table.use, where)
        _refuse_shadowed(found.cls, table, where)
        given = {**found.preset, **table.options}
        built = options.build(found.cls, given, where)
        self._resolved[id(table)] = options.resolve(found.cls, given, where)
        self._alive.append(table)  # an id is only good for as long as its object lives
        self.origins[f"{kind} {table.use}"] = found.origin
        if reason := hooks.of(built.instance, PluginHooks).available():
            raise UsageError(f"{where}: {table.use} cannot run here: {reason}")
        return Part(table.use, built.instance, dict(built.schedules))

    def find(self, kind: str, name: str, where: str) -> registry.FoundPlugin:
        """Return a plugin's class: that of the distribution which the lock names, where there is a lock."""
        return owners.find(kind, name, self.owners, where)

    def resolved(self, table: Use) -> dict[str, Any]:
        """Return all options of a table's plugin, defaults filled in; what was written where it was never made."""
        return self._resolved.get(id(table), table.options)


def _refuse_shadowed(cls: type, table: Use, where: str) -> None:
    """A key of the core's in this table could never reach a plugin's option of the same name."""
    shadowed = {option.name for option in options.describe(cls)} & set(type(table).model_fields)
    if shadowed:
        raise NotAPlugin(
            f"{where}: the option {min(shadowed)!r} of {table.use} has the name of a key of the core here; "
            "its author must rename it"
        )
