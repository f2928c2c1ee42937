"""Whether a run lacks anything: all stages finished, and every number that its recipe asks for there and evident."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robustcl.composition.lock import digest
from robustcl.composition.plan import RecipePlan
from robustcl.disk import read_json
from robustcl.errors import Contradiction, DataError
from robustcl.evaluate.extras.evidence import Evidence
from robustcl.train import stage_files


def results(composition: RecipePlan, folder: Path) -> dict[str, Any] | None:
    """Return the results.json of a run that lacks nothing, ``None`` where there is something left to do.

    Results of another recipe, damaged ones, and such as the journal contradicts are to be made anew.
    """
    if any(stage_files.facts(folder, stage.name) is None for stage in composition.recipe.stage):
        return None
    try:
        found = read_json(folder / "results.json")
        if not isinstance(found, dict) or found.get("recipe_hash") != digest(composition):
            return None
        if not _asked(composition) <= _whole(found["rows"]) or Evidence(folder).hold(found):
            return None
    except (DataError, Contradiction, KeyError, TypeError, AttributeError):
        return None
    return found


def _asked(composition: RecipePlan) -> set[tuple[str, str, str | None]]:
    """Return protocol, route and attack of every number that the recipe asks for; ``None`` is no attack."""
    return {
        (plan.table.use, route, attack)
        for plan in composition.evaluations
        for route in plan.table.route
        for attack in (None, *(attack.name for attack in plan.attacks))
    }


def _whole(rows: list[dict[str, Any]]) -> set[tuple[str, str, str | None]]:
    return {(row["protocol"], row["route"], row["attack"]) for row in rows if not row.get("partial")}
