"""The lock: a recipe with nothing left to defaults, and what it was made with."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from robustcl.composition.parts import Parts
from robustcl.composition.plan import RecipePlan
from robustcl.disk import read_toml
from robustcl.recipe import Use
from robustcl.registry.installed import version


def lock(composition: RecipePlan) -> dict[str, Any]:
    """Return the resolved recipe as tables, with a ``lock`` table of plugins, versions and threads."""
    resolved: dict[str, Any] = _plain(composition.recipe, composition.parts)
    resolved["lock"] = {
        "plugins": {name: str(origin) for name, origin in sorted(composition.parts.origins.items())},
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__), "robustcl": version()},
        "threads": torch.get_num_threads(),
        "how": list(composition.how),
    }
    return resolved


def digest(composition: RecipePlan) -> str:
    """Return a hash of everything that decides what is learnt and measured (not how often it is logged)."""
    resolved = _plain(composition.recipe, composition.parts)
    for key in ("run", "lock", "deviations", "cite", "about", "made", "judged"):
        resolved.pop(key, None)
    made = composition.recipe.made
    if made is not None and made.recipe:
        resolved["name"] = made.recipe  # what it is called, beside its parts, decides nothing
    return hashlib.sha256(json.dumps(resolved, sort_keys=True).encode()).hexdigest()[:16]


def digest_until(folder: Path, number: int) -> str:
    """Return a hash of everything in a run's lock that decides what the stage of a number, counted from 0, ends with.

    Of the lock as it is written: an option that a plugin gains one day makes no other stage of a finished one.
    """
    kept = deciding(read_toml(folder / "recipe.lock.toml"), number)
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def deciding(locked: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return the tables of a lock that decide what the stage of a number, counted from 0, ends with."""
    kept = {key: locked.get(key) for key in ("seed", "data", "threat", "encoder")}
    return {**kept, "stage": list(locked["stage"][: number + 1])}


def _plain(value: Any, parts: Parts) -> Any:
    """Turn models into tables; a plugin's table gets all of its options."""
    if isinstance(value, Use):
        core = {name: _plain(getattr(value, name), parts) for name in type(value).model_fields}
        return _without_none({**core, **parts.resolved(value)})
    if isinstance(value, BaseModel):
        return _without_none({name: _plain(getattr(value, name), parts) for name in type(value).model_fields})
    if isinstance(value, Mapping):
        return {key: _plain(entry, parts) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry, parts) for entry in value]
    return value


def _without_none(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value is not None and value != {}}
