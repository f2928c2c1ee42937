"""What a composition is called: its base recipe and the parts that were replaced in it, however they were.

A recipe's name, citation, text and deviations are those of its own parts. Where a flag, ``--set`` or a study's row puts
in another generator, objective, selector, target or sampler, the composition is named by what it is (``ncp+drift``),
and what the base says of itself stands as the base's, in the table ``made``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from robustcl.composition.exchange import plugin_of
from robustcl.errors import UsageError
from robustcl.recipe.made import Account

KINDS = ("generator", "objective", "selector", "target", "sampler")
"""The kinds that make a method; data set, backbone, views and optimiser are where and how long it is tried."""
_BASE = ("about", "cite", "deviations")
_NAME = r"[a-z0-9][a-z0-9_-]*"

Parts = Mapping[str, tuple[str, str]]
"""Place in the recipe -> kind and name of the plugin that stands there."""


def check(name: str, flag: str = "--name ") -> str:
    """Return a name that a person gives a run, refused where it could not be a folder's everywhere.

    Raises:
        UsageError: other letters than a stage's name may have.
    """
    if not re.fullmatch(_NAME, name):
        raise UsageError(
            f"{flag}{name!r} is not accepted; write it as a stage's: lower-case letters, digits, - and _, e.g. mine-2"
        )
    return name


def parts(tables: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the plugins that make the method of a recipe's tables, which need not be well-formed."""
    stages = tables.get("stage")
    return {
        place: (kind, name)
        for stage in (stages if isinstance(stages, list) else [])
        if isinstance(stage, Mapping)
        for place, kind, name in _of_stage(stage)
        if name
    }


def _of_stage(stage: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    head = f"stage.{stage.get('name')}"
    for key, table in _tables(stage.get("generator")).items():
        yield f"{head}.generator.{key}", "generator", plugin_of(table)
    terms = _tables(stage.get("term")) | ({"objective": stage["objective"]} if "objective" in stage else {})
    for key, table in terms.items():
        yield f"{head}.term.{key}", "objective", plugin_of(table)
        if isinstance(table, Mapping) and "selector" in table:
            yield f"{head}.term.{key}.selector", "selector", plugin_of(table["selector"])
    for key, kind in (("targets", "target"), ("sampler", "sampler")):
        if key in stage:
            yield f"{head}.{key}", kind, plugin_of(stage[key])


def _tables(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def settle(
    recipe: dict[str, Any], before: Parts, *, budget: str | None, changed: Sequence[str], name: str | None = None
) -> None:
    """Change the tables in place: give them the name of what they are, and the table ``made``.

    Args:
        recipe: the tables with everything replaced and changed.
        before: the parts of the recipe that it was made from.
        budget: the budget that was applied now, if any.
        changed: what else was changed, as ``path=value``.
        name: the name that somebody gives it.
    """
    earlier = recipe.get("made", {})
    if not _is_whole(earlier):
        return  # refused at its place, when the recipe is read
    made = {"recipe": recipe.get("name"), **earlier}
    if budget is not None:
        made["budget"] = budget
    replaced = _replaced(earlier.get("replaced", ()), before, parts(recipe))
    if replaced and not earlier.get("replaced"):
        made |= {key: recipe.pop(key) for key in _BASE if recipe.get(key)}
    if replaced and replaced != [dict(entry) for entry in earlier.get("replaced", ())]:
        recipe["name"] = _composed(str(made["recipe"]), replaced)
    made |= {"replaced": replaced, "changed": [*earlier.get("changed", ()), *changed]}
    if name is not None:
        recipe["name"] = name
    recipe["made"] = {key: value for key, value in made.items() if value}


def _is_whole(made: Any) -> bool:
    try:
        Account.model_validate(made)
    except ValidationError:
        return False
    return True


def _replaced(earlier: Sequence[Mapping[str, Any]], before: Parts, after: Parts) -> list[dict[str, str]]:
    """Return what stands where something else stood, with what was replaced before that."""
    first = {str(entry["place"]): str(entry.get("before", "")) for entry in earlier}
    found = []
    for place in dict.fromkeys([*first, *before, *after]):
        was, now = before.get(place, ("", ""))[1], after.get(place, ("", ""))[1]
        kind = (after.get(place) or before.get(place) or ("", ""))[0]
        original = first.get(place, was)
        gone = place.rpartition(".selector")[0]
        if original != now and not (not now and gone in before and gone not in after):
            entry = {"kind": kind or _kind(earlier, place), "place": place, "before": original, "by": now}
            found.append({key: value for key, value in entry.items() if value})
    return sorted(found, key=lambda entry: [*KINDS, entry["kind"]].index(entry["kind"]))


def _kind(earlier: Sequence[Mapping[str, Any]], place: str) -> str:
    return next((str(entry["kind"]) for entry in earlier if entry["place"] == place), KINDS[0])


def _composed(base: str, replaced: Sequence[Mapping[str, str]]) -> str:
    """Return the base's name and those of the parts that came; of parts that went where none came, "no-NAME"."""
    came = [entry["by"] for entry in replaced if "by" in entry]
    went = [f"no-{entry['before']}" for entry in replaced if "by" not in entry and entry["kind"] != "target"]
    if not came and not went:
        went = [f"no-{entry['before']}" for entry in replaced]
    names = [re.sub(r"[^a-z0-9_+.-]+", "-", name.lower()).strip("-.") for name in (*came, *went)]
    return "+".join([base, *dict.fromkeys(names)])
