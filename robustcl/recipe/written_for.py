"""``written_for``: the data set that the numbers of a recipe are of."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from robustcl.recipe.tables import Section


class WrittenFor(Section):
    """The data set whose numbers a recipe's are.

    but: dotted paths of what is as its author wants it on all data; a recipe file's own ``[set]`` and stages are.
    """

    data: str
    but: list[str] = Field(default_factory=list)


def as_written_for(value: Any) -> Any:
    """Return the table that a data set's bare name stands for; anything else as it is."""
    return {"data": value} if isinstance(value, str) else value
