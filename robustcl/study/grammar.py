"""Studies: a grid of recipes, what is measured on each, the paper's own numbers, and figures. TOML in, checked tables.

Rows times axes times seeds are runs; columns are numbers of a run. No key of a study calls code, and nothing here
trains.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from robustcl.recipe import PluginTable, Section, Targets

Published = dict[str, dict[str, float]]
"""Data set -> column -> the paper's number, in the column's unit."""


class Row(Section):
    """``[[row]]``: a recipe (installed, or a file) with changes, and what the paper reports for it."""

    name: str
    recipe: str
    set: dict[str, Any] = Field(default_factory=dict)
    drop: list[str] = Field(default_factory=list)
    column: dict[str, dict[str, Any]] = Field(default_factory=dict)
    paper: Published = Field(default_factory=dict)


class Axis(Section):
    """``[[axis]]``: a path of the recipe and its values; every row is repeated for each of them."""

    name: str
    path: str
    values: list[Any] = Field(min_length=1)
    paper: dict[str, Published] = Field(default_factory=dict)
    """The value as text -> what the paper reports there."""


class Accuracy(Section):
    """A number of results.json: accuracy, clean or under an attack; the recipe's first protocol and route by default.

    attack: a name as the recipe's evaluation has it, or ``first`` for its first one.
    """

    name: str
    use: Literal["accuracy"] = "accuracy"
    protocol: str | None = None
    route: str | None = None
    attack: str | None = None
    split: Literal["test", "validation"] = "test"


class Metric(Section):
    """A number of metrics.jsonl, averaged over the logged steps of the first, of the last, or of all epochs."""

    name: str
    use: Literal["metric"]
    metric: str
    stage: str | None = None
    over: Literal["first epoch", "last epoch", "all epochs"] = "last epoch"


class Clusters(Section):
    """The number of clusters that a stage chose, or was given."""

    name: str
    use: Literal["clusters"]
    stage: str | None = None


class Perturbed(Section):
    """Test images moved by any attack or generator, judged by the run's own classifier.

    value: ``accuracy`` on what was moved; ``fooled``, the share of the correctly classified images that are not any
    more; ``drop``, by how much the probability of the true class falls on average on these images.
    times: the size of the ball in radii of the threat; step sizes grow with it. targets: clusters of the training
    images under the judged encoder, for generators that read them; a test image belongs to the nearest centroid.
    """

    name: str
    use: Literal["perturbed"]
    value: Literal["accuracy", "fooled", "drop"]
    attack: PluginTable
    times: float = Field(1.0, gt=0)
    targets: Targets | None = None
    protocol: str | None = None
    route: str | None = None


Column = Annotated[Accuracy | Metric | Clusters | Perturbed, Field(discriminator="use")]
COLUMN: TypeAdapter[Accuracy | Metric | Clusters | Perturbed] = TypeAdapter(Column)
"""Checks the table of one column."""


class Bars(Section):
    """A bar for each row and column, the paper's numbers as marks."""

    kind: Literal["bars"]
    columns: list[str] = Field(min_length=1)
    caption: str = ""


class Lines(Section):
    """A line for each row and column along an axis."""

    kind: Literal["lines"]
    axis: str
    columns: list[str] = Field(min_length=1)
    caption: str = ""


class Epochs(Section):
    """Metrics of a stage, averaged over the logged steps of each epoch."""

    kind: Literal["epochs"]
    metrics: list[str] = Field(min_length=1)
    stage: str | None = None
    caption: str = ""


class Silhouettes(Section):
    """The silhouette score of each number of clusters that was tried; the chosen one is marked."""

    kind: Literal["silhouette"]
    caption: str = ""


Figure = Annotated[Bars | Lines | Epochs | Silhouettes, Field(discriminator="kind")]


class Study(Section):
    """A whole study. ``data`` names the data set of the paper's numbers that stand beside ours by default."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")
    about: str = ""
    cite: str = ""
    setting: str = ""
    data: str = ""
    differs: list[str] = Field(default_factory=list)
    set: dict[str, Any] = Field(default_factory=dict)
    row: list[Row] = Field(min_length=1)
    axis: list[Axis] = Field(default_factory=list)
    column: list[Column] = Field(default_factory=list)
    figure: list[Figure] = Field(default_factory=list)

    def columns_of(self, row: Row) -> list[Accuracy | Metric | Clusters | Perturbed]:
        """Return the columns as a row has them."""
        return [COLUMN.validate_python(merged(column, row)) for column in self.column]


def merged(column: Section, row: Row) -> dict[str, Any]:
    """Return the table of a column as a row has it."""
    own: dict[str, Any] = column.model_dump(exclude_unset=True)
    return {**own, **row.column.get(own["name"], {})}
