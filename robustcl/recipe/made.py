"""What a composition was made from, and how that is said where its numbers stand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError

from robustcl.recipe.tables import Section


class Replaced(Section):
    """A part of the base recipe in whose place another stands; ``before`` or ``by`` is empty where one came or went."""

    kind: str
    place: str
    before: str = ""
    by: str = ""


class Account(Section):
    """``[made]``: which recipe a composition was made from, at which budget, and what differs from it; never by hand.

    about, cite, deviations: what the base recipe says of itself, where a part of it was replaced.
    """

    recipe: str = ""
    budget: str = ""
    replaced: list[Replaced] = Field(default_factory=list)
    changed: list[str] = Field(default_factory=list)
    about: str = ""
    cite: str = ""
    deviations: list[str] = Field(default_factory=list)


def headline(name: str, seed: object, made: Account | None) -> list[str]:
    """Return what a person must know of a composition before its numbers, a line each."""
    facts = [name, f"seed {seed}"]
    if made is None:
        return [", ".join(facts)]
    if made.budget:
        facts.append(f"budget {made.budget}")
    if made.recipe and made.recipe != name:
        facts.append(f"base {made.recipe}")
    return [", ".join(facts), *(f"{word}: {said}" for word, said in differences(made).items())]


def of_results(results: Mapping[str, Any]) -> Account | None:
    """Return what results.json says of it; ``None`` where it says nothing, as before this was kept."""
    try:
        return Account.model_validate(results["made"])
    except (KeyError, ValidationError):
        return None


def differences(made: Account) -> dict[str, str]:
    """Return how a composition differs from its base recipe: "replaced", "added", "without", "changed"."""
    lists: dict[str, list[str]] = {"replaced": [], "added": [], "without": [], "changed": list(made.changed)}
    for entry in made.replaced:
        if entry.before and entry.by:
            lists["replaced"].append(f"{entry.before} by {entry.by}")
        elif entry.by:
            lists["added"].append(f"the {entry.kind} {entry.by}")
        else:
            lists["without"].append(f"the {entry.kind} {entry.before}")
    return {word: ", ".join(dict.fromkeys(texts)) for word, texts in lists.items() if texts}
