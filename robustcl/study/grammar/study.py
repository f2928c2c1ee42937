"""Studies: a grid of recipes, what is measured on each, the paper's own numbers, and figures. TOML in, checked tables.

Rows times axes times seeds are runs; columns are numbers of a run. No key of a study calls code, and nothing here
trains.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from robustcl.claims.grammar import Claim
from robustcl.recipe import PluginTable, Section
from robustcl.study.grammar.columns import COLUMN, AnyColumn, Column, Place, spread
from robustcl.study.grammar.figures import Figure

Published = dict[str, dict[str, float]]
"""Data set -> column -> the paper's number, in the column's unit."""


class Tuned(Section):
    """``tuned``: a path of every row's recipe, and the values that are tried there, of which validation chooses.

    by: the column whose validation number chooses, for each seed by itself; the last accuracy under attack where none
    is named, else the first accuracy.
    """

    path: str
    values: list[Any] = Field(min_length=2)
    by: str | None = None


class Row(Section):
    """``[[row]]``: a recipe (installed, or a file) with changes, and what the paper reports for it.

    generator, objective, selector, target: plugins in place of the recipe's, as the flags of ``robustcl compose`` put
    them there; with an objective, the recipe may be left to be found as there. A row with neither is one of models that
    others have trained: it has numbers where such a model is given.
    on: the data set that the recipe is trained on, the runs' own or the study's other one.
    tuned: in place of the study's, of as many values.
    """

    name: str
    recipe: str | None = None
    generator: str | None = None
    objective: str | None = None
    selector: str | None = None
    target: str | None = None
    on: Place = "data"
    set: dict[str, Any] = Field(default_factory=dict)
    drop: list[str] = Field(default_factory=list)
    tuned: Tuned | None = None
    column: dict[str, dict[str, Any]] = Field(default_factory=dict)
    paper: Published = Field(default_factory=dict)

    @property
    def is_trained(self) -> bool:
        """Whether a recipe trains it."""
        return self.recipe is not None or self.objective is not None


class Axis(Section):
    """``[[axis]]``: a path of the recipe and its values; every row is repeated for each of them."""

    name: str
    path: str
    values: list[Any] = Field(min_length=1)
    paper: dict[str, Published] = Field(default_factory=dict)
    """The value as text -> what the paper reports there."""


class Study(Section):
    """A whole study. ``data`` names the data set of the paper's numbers that stand beside ours by default.

    other: further data sets, for rows and columns that are ``on = "other"``; every row is repeated for each of them.
    equal: of what every row gets the same amount while it is trained: ``amount`` of them, else as much as the first row
        has of itself. optimizer: ``shared`` gives every stage of every row the first row's optimiser, batch and clip.
    tuned: what is tuned for every row alike.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")
    about: str = ""
    cite: str = ""
    setting: str = ""
    data: str = ""
    differs: list[str] = Field(default_factory=list)
    other: list[PluginTable] = Field(default_factory=list)
    equal: Literal["epochs", "steps", "passes", "seconds"] | None = None
    amount: float | None = Field(None, gt=0)
    optimizer: Literal["own", "shared"] = "own"
    tuned: Tuned | None = None
    set: dict[str, Any] = Field(default_factory=dict)
    row: list[Row] = Field(min_length=1)
    axis: list[Axis] = Field(default_factory=list)
    column: list[Column] = Field(default_factory=list)
    figure: list[Figure] = Field(default_factory=list)
    claim: list[Claim] = Field(default_factory=list)

    def columns_of(self, row: Row) -> list[AnyColumn]:
        """Return the columns as a row has them, a swept one as one for each value."""
        tables = (merge(column, row) for column in self.column)
        return [COLUMN.validate_python(plain) for table in tables for plain in spread(table)]


def merge(column: Section, row: Row) -> dict[str, Any]:
    """Return the table of a column as a row has it."""
    own: dict[str, Any] = column.model_dump(exclude_unset=True)
    return {**own, **row.column.get(own["name"], {})}
