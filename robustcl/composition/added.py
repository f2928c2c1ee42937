"""A protocol that a recipe does not have, adapted to its data set as those that it has."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from robustcl import registry
from robustcl.composition import exchange
from robustcl.options import describe
from robustcl.recipe import Evaluate, ViewTable

_OF_IMAGES = ("view",)
"""Options of a protocol that belong to the images and not to its schedule: digits are not mirrored."""


def entry_for(tables: Mapping[str, Any], protocol: str) -> dict[str, Any]:
    """Return the [[evaluate]] table of a protocol that the recipe lacks.

    Which encoder, routes, attacks and budgets are judged is as the recipe's first table says, which its data set has
    adapted. An option of the images is the one of the first table that has it, else that of a stage's view of the same
    plugin. The schedule, and the step of an attack, are the protocol's own.

    Raises:
        UsageError: there is no such protocol.
    """
    cls = registry.find("protocol", protocol, f"evaluate.{protocol}").cls
    entries = [entry for entry in tables.get("evaluate") or [] if isinstance(entry, Mapping)]
    core = {key: value for key, value in entries[0].items() if key in Evaluate.model_fields} if entries else {}
    options = {
        option.name: value
        for option in describe(cls)
        if option.name in _OF_IMAGES
        and (value := next(_adapted(tables, entries, option.name, option.default), None)) is not None
        and exchange.takes("protocol", {"use": protocol}, option.name, value)
    }
    return copy.deepcopy({**core, "use": protocol, **options})


def _adapted(
    tables: Mapping[str, Any], entries: list[Mapping[str, Any]], option: str, default: object
) -> Iterator[Any]:
    yield from (entry[option] for entry in entries if option in entry)
    for stage in reversed(tables.get("stage") or []):
        for view in (stage.get("views") or {}).values():
            if isinstance(view, Mapping) and view.get("use") == exchange.plugin_of(default):
                yield _changed(view)


def _changed(view: Mapping[str, Any]) -> Any:
    """Return a stage's view as a protocol would have it written: a name, or a table of what is not the default."""
    defaults = {option.name: option.default for option in describe(registry.get("view", view["use"]))}
    core = ViewTable.model_fields.keys()  # what it is drawn from, which a stage alone says
    options = {key: value for key, value in view.items() if key not in core and value != defaults.get(key)}
    return {"use": view["use"], **options} if options else view["use"]
