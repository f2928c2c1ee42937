"""Judge a finished run's encoder again, by its own recipe or with other attacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from robustcl import reading
from robustcl.composition import api, store
from robustcl.composition.folder import reopen
from robustcl.composition.run import Run, execute
from robustcl.errors import UsageError
from robustcl.train.engine import Engine
from robustcl.train.log import Watcher, watch_nothing

_DEFAULT = "slf"
"""The protocol where neither the recipe nor the caller names one."""


def evaluate_again(
    folder: Path,
    protocol: str | None = None,
    routes: Sequence[str] = (),
    attacks: Sequence[str] = (),
    samples: int | None = None,
    *,
    watcher: Watcher = watch_nothing,
    say: Callable[[str], None] = lambda sentence: None,
) -> Run:
    """Evaluate a finished run; ``results.json`` then holds these numbers.

    Raises:
        UsageError: the run has an unfinished stage, or something asked for does not exist.
    """
    composition, options = reopen(folder)
    for stage in composition.recipe.stage:
        if store.facts(folder, stage.name) is None:
            raise UsageError(f"{folder}: stage {stage.name} is not finished; continue it with robustcl resume {folder}")
    tables: dict[str, Any] = reading.read(folder / "recipe.lock.toml")
    entries = tables.get("evaluate") or []
    if not entries and protocol is None:
        say(f"the recipe of {folder} has no [[evaluate]] table: judging by {_DEFAULT}; --protocol NAME takes another")
    entries = entries or [{"use": protocol or _DEFAULT}]
    if protocol is not None:
        entries = [entry for entry in entries if entry["use"] == protocol] or [{"use": protocol}]
    for entry in entries:
        if routes:
            entry["route"] = list(routes)
        if attacks:
            entry["attacks"] = list(attacks)
        if samples is not None:
            entry["samples"] = samples
    tables["evaluate"] = entries
    judged = api.from_tables(tables, str(folder))
    engine = Engine(options["device"], 1, options["precision"])
    return execute(judged, folder, engine, watcher, say)
