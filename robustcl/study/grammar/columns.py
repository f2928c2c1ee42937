"""The columns of a study as tables: of what each kind is a number; a swept one is one for each value of a key."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from robustcl.measures.catalogue import OF_FEATURES, OF_PREDICTIONS
from robustcl.recipe import PluginTable, Section, Targets, ThreatTable, Use, override

if TYPE_CHECKING:
    OfPredictions = str
    OfFeatures = str
else:
    OfPredictions, OfFeatures = Literal[OF_PREDICTIONS], Literal[OF_FEATURES]

Place = Literal["data", "other"]
"""Of which data set something is: the runs' own, or the study's ``other``."""


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
