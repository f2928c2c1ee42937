"""Studies: a grid of recipes, what is measured on each, the paper's own numbers, and figures. TOML in, checked tables.

Rows times axes times seeds are runs; columns are numbers of a run, and a swept column is one for each value of one of
its keys. No key of a study calls code, and nothing here trains.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from robustcl.claims.grammar import Claim
from robustcl.measures.catalogue import OF_FEATURES, OF_PREDICTIONS
from robustcl.recipe import PluginTable, Section, Targets, ThreatTable, Use, override
from robustcl.study.drawings import Figure

if TYPE_CHECKING:
    OfPredictions = str
    OfFeatures = str
else:
    OfPredictions, OfFeatures = Literal[OF_PREDICTIONS], Literal[OF_FEATURES]

Place = Literal["data", "other"]
"""Of which data set something is: the runs' own, or the study's ``other``."""
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


class Sweep(Section):
    """``sweep`` of a column: one column for each value of a key of it, written where its name has ``{}``."""

    key: str
    values: list[float | int | str] = Field(min_length=1)


class ColumnBase(Section):
    """What every column has.

    best: which number is the best, to be bold in a table; by default the highest accuracy, and the lowest loss of one.
    """

    name: str
    sweep: Sweep | None = None
    best: Literal["highest", "lowest", "none"] | None = None


class Accuracy(ColumnBase):
    """A number of results.json: accuracy, clean or under an attack; the recipe's first protocol and route by default.

    attack: a name as the recipe's evaluation has it, or ``first`` for its first one. on: ``other`` has the protocol
    train and judge its classifier on the study's other data set, from the run's encoder.
    """

    use: Literal["accuracy"] = "accuracy"
    on: Place = "data"
    protocol: str | None = None
    route: str | None = None
    attack: str | None = None
    split: Literal["test", "validation"] = "test"


class Metric(ColumnBase):
    """A number of metrics.jsonl, averaged over the logged steps of the first, of the last, or of all epochs."""

    use: Literal["metric"]
    metric: str
    stage: str | None = None
    over: Literal["first epoch", "last epoch", "all epochs"] = "last epoch"


class Clusters(ColumnBase):
    """The number of clusters that a stage chose, or was given."""

    use: Literal["clusters"]
    stage: str | None = None


class Corrupted(ColumnBase):
    """A number of results.json: of corrupted test images, over the severities of the evaluation.

    corruption: a name as the recipe's evaluation has it, or ``mean`` for the mean over all of them.
    value: the mean ``accuracy``; ``relative-drop``, the share of the clean accuracy that is lost; ``corruption-error``,
    the errors in those of a baseline, whose mean over corruptions is mCE.
    baseline: a row, or corruption -> the mean error over the five severities in percent.
    """

    use: Literal["corrupted"]
    corruption: str = "mean"
    value: Literal["accuracy", "relative-drop", "corruption-error"] = "accuracy"
    baseline: str | dict[str, float] | None = None
    protocol: str | None = None
    route: str | None = None


class Moved(ColumnBase):
    """Test images moved by any attack or generator, seen by the run's own classifier.

    threat: the ball, the run's own where it is left out. times: the ball's size in its radii; step sizes grow with it.
    targets: clusters of the training images under the judged encoder, for generators that read them; a test image
    belongs to the nearest centroid.
    """

    attack: PluginTable
    threat: ThreatTable | None = None
    times: float = Field(1.0, gt=0)
    targets: Targets | None = None
    protocol: str | None = None
    route: str | None = None


class Perturbed(Moved):
    """What moved test images do to the run's own classifier.

    value: ``accuracy`` on what was moved; ``relative-drop``, the share of the clean accuracy that is lost; ``fooled``,
    the share of the correctly classified images that are not any more; ``drop``, by how much the probability of the
    true class falls on average on these images. Those of ``robustcl.measures.catalogue``.
    """

    use: Literal["perturbed"]
    value: OfPredictions


class Representation(Moved):
    """A measure of the features h of moved test images, or of clean ones where nothing moves them.

    value: a number of ``robustcl.measures.catalogue``, by its name in a study.
    """

    use: Literal["representation"]
    value: OfFeatures
    attack: PluginTable = Use(use="none")


class Transferred(ColumnBase):
    """Accuracy on adversarial test images that were made against the run of another row, of the same seed and point.

    source: that row; the attack sees the classifier of its first protocol and route. A row against itself has none.
    """

    use: Literal["transferred"]
    source: str
    attack: PluginTable
    times: float = Field(1.0, gt=0)
    protocol: str | None = None
    route: str | None = None


class Derived(ColumnBase):
    """A number made of the study's others, per seed.

    value: ``relative-drop``, the share of the column ``against`` that is lost in the column ``of``, 1 - of / against;
    ``gain``, what the column ``of`` has more than in the row ``over``; ``gap-closed``, the share of the way from the
    row ``over`` to the row ``toward`` in the column ``of``. Rows are those at the same point of the axes.
    """

    use: Literal["derived"]
    value: Literal["relative-drop", "gain", "gap-closed"]
    of: str
    against: str | None = None
    over: str | None = None
    toward: str | None = None


AnyColumn = Accuracy | Metric | Clusters | Corrupted | Perturbed | Representation | Transferred | Derived
Column = Annotated[AnyColumn, Field(discriminator="use")]
COLUMN: TypeAdapter[AnyColumn] = TypeAdapter(Column)
"""Checks the table of one column."""


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


def spread(column: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a swept column's table once for each value, with that value at its key and in its name."""
    if column.get("sweep") is None:
        return [column]
    sweep = Sweep.model_validate(column["sweep"])
    tables = []
    for value in sweep.values:
        table: dict[str, Any] = copy.deepcopy({key: held for key, held in column.items() if key != "sweep"})
        override.put(table, sweep.key, value, f"column.{column['name']}.sweep.key")
        tables.append(table | {"name": swept(column["name"], value)})
    return tables


def swept(name: str, value: float | str) -> str:
    """Return the name of a swept column at a value."""
    return name.replace("{}", f"{value:g}" if isinstance(value, float) else str(value))
