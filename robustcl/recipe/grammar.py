"""Recipes: TOML in, checked tables, TOML out. No recipe calls code; plugins are named, never imported by path."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from robustcl.errors import UsageError
from robustcl.recipe.evaluation import MAIN_ROUTE, Evaluate
from robustcl.recipe.made import Account
from robustcl.recipe.tables import PluginTable, Section, Use, as_table
from robustcl.recipe.written_for import WrittenFor, as_written_for


class Data(Use):
    """``[data]``: the data set, the batch of all ranks together, and the part of the training images held out."""

    batch: int = Field(256, ge=1)
    validation: float = Field(0.1, ge=0, lt=1)


class ThreatTable(Section):
    """``[threat]``: the ball in which the run is trained and judged."""

    norm: str = "Linf"
    eps: str | float | int = "8/255"


class ProjectorTable(Section):
    """The head of pre-training: the width of each layer, and where batch norm stands."""

    widths: list[Annotated[int, Field(ge=1)]] = Field(default_factory=lambda: [512, 128])
    norm: bool = True
    last_norm: bool = False


class EncoderTable(Use):
    """``[encoder]``: the backbone plugin (the data set's own choice where none is named), and its projector."""

    use: str = ""
    projector: ProjectorTable = ProjectorTable()


class ViewTable(Use):
    """One named view: drawn ``count`` times, from the image or ``of`` another view."""

    of: str | None = None
    count: int = Field(1, ge=1)


class Maximise(Use):
    """A loss that a generator maximises although it is no term of the stage."""

    views: dict[str, str] | list[str] | None = None
    selector: PluginTable | None = None


class BallTable(Section):
    """A generator's own ball, where it differs from the threat: by explicit consent, and printed by explain."""

    norm: str | None = None
    eps: str | float | int | None = None
    unbounded: bool = False


class GeneratorTable(Use):
    """``[stage.generator.NAME]``: which views it reads, what it writes, and in which batch-norm mode it looks."""

    reads: list[str] = Field(default_factory=list)
    writes: list[str] = Field(default_factory=list)
    maximise: str | Maximise | None = None
    selector: PluginTable | None = None
    constants: dict[str, str] = Field(default_factory=dict)
    mode: Literal["eval", "batch", "train"] = "eval"
    ball: BallTable | None = None


class Term(Use):
    """``[stage.term.NAME]``: an objective, the views bound to its roles, its selector and its weights."""

    views: dict[str, str] | list[str] | None = None
    selector: PluginTable | None = None
    weight: Any = 1.0
    mix: dict[str, Any] = Field(default_factory=dict)
    group: str | None = None
    support: list[str] = Field(default_factory=list)


class Ema(Section):
    """An encoder that follows another: when it is updated, and whose batch-norm buffers it keeps."""

    of: str = "online"
    momentum: Any = 0.99
    update: Literal["before-optimiser", "after-optimiser"] = "after-optimiser"
    buffers: Literal["own", "copied"] = "own"


class Of(Section):
    """What is clustered: the features of a view through an encoder and a route."""

    view: str = "none"
    encoder: str = "online"
    route: str = MAIN_ROUTE
    layer: Literal["h", "z"] = "h"


Clusters = Annotated[int, Field(ge=1)]


class Targets(Use):
    """``targets``: the cluster plugin, what it clusters, how many clusters, and how often.

    ``init = "stage:NAME"`` starts from the clusters that an earlier stage ended with.
    """

    of: Of = Of()
    clusters: Clusters | Annotated[list[Clusters], Field(min_length=1)] | Literal["silhouette"] = "silhouette"
    grid: list[Annotated[int, Field(ge=2)]] = Field(
        default_factory=lambda: [5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 100], min_length=1
    )
    refresh: str | None = "1 epoch"
    init: str | None = Field(None, pattern=r"^stage:")


class SamplerTable(Use):
    """A sampler that chooses the images of the coming epochs."""

    every: int = Field(1, ge=1)
    after: int = Field(0, ge=0)


class Stage(Section):
    """``[[stage]]``: what is trained, on which views, by which terms."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    epochs: int = Field(ge=0)
    batch: int | None = Field(None, ge=1)
    micro_batch: int | None = Field(None, ge=1)
    batch_norm: Literal["micro"] | None = None
    split: Literal["pretrain", "train"] = "pretrain"
    drop_last: bool = True
    init: str | None = None
    init_route: str | None = None
    encoders: dict[str, str | Ema] = Field(default_factory=dict)
    trainable: list[str] = Field(default_factory=lambda: ["online"])
    freeze: list[str] = Field(default_factory=list)
    classifier: Literal["keep", "zero", "default"] = "keep"
    mode: Literal["train", "eval"] = "train"
    views: dict[str, Annotated[ViewTable, BeforeValidator(as_table)]] = Field(default_factory=dict)
    differentiable: list[str] = Field(default_factory=list)
    routes: dict[str, str] = Field(default_factory=dict)
    encode: dict[str, str] = Field(default_factory=dict)
    forward: Literal["by-route", "by-view"] | list[list[str]] = "by-route"
    groups: dict[str, list[str]] = Field(default_factory=dict)
    labels: str = Field("data", pattern=r"^(data|targets:\d+)$")
    labelled: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, le=1)] | None = None
    targets: Annotated[Targets, BeforeValidator(as_table)] | None = None
    sampler: Annotated[SamplerTable, BeforeValidator(as_table)] | None = None
    generator: dict[str, Annotated[GeneratorTable, BeforeValidator(as_table)]] = Field(default_factory=dict)
    term: dict[str, Annotated[Term, BeforeValidator(as_table)]] = Field(default_factory=dict)
    optimizer: PluginTable = Use(use="sgd")
    clip: float | None = Field(None, gt=0)


class Settings(Section):
    """``[run]``: how the run is kept and logged; nothing here changes what is learnt.

    witnesses: whether what fools the judged classifiers is kept; left out, it is.
    """

    checkpoint: str = "1 epoch"
    log_every: int = Field(10, ge=1)
    witnesses: bool | None = None


class Recipe(Section):
    """A whole method: data, threat, stages and evaluation.

    judged: the batch-norm branch whose numbers are the method's own, where several are evaluated.
    written_for: the data set whose numbers these are; on another one that one's ``adaptation`` changes them. A bare
        name stands for the whole recipe.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=120)
    about: str = ""
    cite: str = ""
    deviations: list[str] = Field(default_factory=list)
    base: dict[str, str] = Field(default_factory=dict)
    seed: int = 0
    data: Data = Data(use="digits")
    threat: ThreatTable = ThreatTable()
    encoder: Annotated[EncoderTable, BeforeValidator(as_table)] | None = None
    stage: list[Stage] = Field(min_length=1)
    evaluate: list[Evaluate] = Field(default_factory=list)
    judged: str | None = None
    written_for: Annotated[WrittenFor, BeforeValidator(as_written_for)] | None = None
    run: Settings = Settings()
    budget: dict[str, dict[str, Any]] = Field(default_factory=dict)
    adapt: dict[str, dict[str, Any]] = Field(default_factory=dict)
    made: Account | None = None
    lock: dict[str, Any] = Field(default_factory=dict)

    def find(self, stage: str) -> Stage:
        """Return the stage of a name."""
        for candidate in self.stage:
            if candidate.name == stage:
                return candidate
        raise UsageError(f"the recipe has no stage {stage!r}; its stages are {', '.join(s.name for s in self.stage)}")
