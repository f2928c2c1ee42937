"""A stage as the training loop reads it: plugin instances, bound views, numbers that may be schedules.

Compose builds plans from recipes; nothing here knows a recipe's grammar.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from robustcl import hooks
from robustcl.data.draw import ViewSpec
from robustcl.hooks import ObjectiveHooks
from robustcl.options.duration import Progress
from robustcl.options.schedule import Schedule
from robustcl.protocols import Need
from robustcl.recipe import MAIN_ROUTE
from robustcl.threat import Ball

Number: TypeAlias = float | Schedule
"""A number, or a schedule that gives one at each step."""


def at(number: Number, progress: Progress) -> float:
    """Return the number in force at this point of the stage."""
    return number.at(progress) if isinstance(number, Schedule) else float(number)


@dataclass(frozen=True, slots=True)
class Part:
    """A plugin in its place: its registered name, the instance, and the options that follow schedules."""

    name: str
    plugin: Any
    schedules: Mapping[str, Schedule] = field(default_factory=dict)

    @property
    def needs(self) -> frozenset[Need]:
        """What the plugin reads."""
        needs: frozenset[Need] = self.plugin.needs
        return needs

    def move_to(self, progress: Progress) -> None:
        """Set every scheduled option to its value at this point of the stage."""
        for option, schedule in self.schedules.items():
            setattr(self.plugin, option, schedule.at(progress))


@dataclass(frozen=True, slots=True)
class Ref:
    """A view through an encoder: ``w`` or ``w@teacher`` in a recipe."""

    view: str
    encoder: str

    def __str__(self) -> str:
        return f"{self.view}@{self.encoder}"


@dataclass(frozen=True, slots=True)
class ViewPlan:
    """A drawn view; ``of`` names the view that it is derived from."""

    name: str
    part: Part
    of: str | None = None


@dataclass(frozen=True, slots=True)
class TermPlan:
    """An objective with its roles bound, its selector, and the weight of each of its terms."""

    name: str
    objective: Part
    roles: tuple[tuple[str, Ref], ...]
    selector: Part | None
    weights: Mapping[str, Number]
    group: str | None = None
    support: tuple[Ref, ...] = ()

    @property
    def refs(self) -> tuple[Ref, ...]:
        """Every view that the term reads."""
        return (*(ref for _, ref in self.roles), *self.support)

    def anchors(self, frozen: Collection[str]) -> dict[str, str]:
        """Return role -> view of all that makes rows, in the order of the roles: what no frozen encoder has seen."""
        return {role: str(ref).removesuffix("@online") for role, ref in self.roles if ref.encoder not in frozen}

    @property
    def layers(self) -> frozenset[str]:
        """The encoder outputs that the objective and its selector read."""
        needs = self.objective.needs | (self.selector.needs if self.selector else frozenset())
        return layers_of(needs)

    @property
    def taps(self) -> frozenset[str]:
        """The backbone's inner outputs that the objective asks for (optional attribute ``taps``)."""
        return frozenset(hooks.of(self.objective.plugin, ObjectiveHooks).taps)


@dataclass(frozen=True, slots=True)
class GeneratorPlan:
    """A generator: ``reads`` J views, ``writes`` J perturbed ones, in blocks."""

    name: str
    part: Part
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    mode: str
    ball: Ball
    maximise: TermPlan | None = None
    constants: Mapping[str, Ref] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TargetPlan:
    """What is clustered, into how many clusters (``None``: chosen by silhouette over ``grid``), and how often."""

    part: Part
    view: Part
    encoder: str
    route: str
    layer: str
    clusters: tuple[int, ...] | None
    grid: tuple[int, ...]
    every: float | None
    """Epochs between refreshes; ``None`` for once."""
    init: str | None = None
    """``stage:NAME``: start from the clusters of an earlier stage."""


@dataclass(frozen=True, slots=True)
class EmaPlan:
    """An encoder that follows another one."""

    of: str
    momentum: Number
    before_optimiser: bool
    copy_buffers: bool


@dataclass(frozen=True, slots=True)
class SamplerPlan:
    """A sampler, run before epoch ``after`` and then every ``every`` epochs."""

    part: Part
    every: int
    after: int


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One stage, ready to train."""

    name: str
    epochs: int
    batch: int
    drop_last: bool
    mode: str
    views: tuple[ViewPlan, ...]
    generators: tuple[GeneratorPlan, ...]
    terms: tuple[TermPlan, ...]
    routes: Mapping[str, str]
    encode: Mapping[str, str]
    forward: str | tuple[tuple[str, ...], ...]
    groups: Mapping[str, tuple[str, ...]]
    differentiable: frozenset[str]
    optimizer: Part
    lr: Number
    trainable: tuple[str, ...]
    freeze: tuple[str, ...]
    frozen: tuple[str, ...]
    ema: Mapping[str, EmaPlan]
    targets: TargetPlan | None
    sampler: SamplerPlan | None
    labels: int | None
    """``None``: the data's own labels; else the clustering whose assignment serves as label."""
    clip: float | None
    labelled: float | None = None
    """How many images keep their labels (int), or which share of them (float); ``None``: all."""
    micro_batch: int | None = None
    """How many images a process embeds at once; ``None``: all that it has of a batch."""
    micro_norm: bool = False
    """Whether batch statistics may be those of a micro batch."""

    def parts(self) -> list[Part]:
        """Return every plugin of the stage."""
        found = [view.part for view in self.views]
        for generator in self.generators:
            found.append(generator.part)
            if generator.maximise is not None:
                found += _term_parts(generator.maximise)
        for term in self.terms:
            found += _term_parts(term)
        if self.targets is not None:
            found.append(self.targets.part)
        if self.sampler is not None:
            found.append(self.sampler.part)
        return [*found, self.optimizer]

    @property
    def specs(self) -> dict[str, ViewSpec]:
        """The views as they are drawn."""
        return {view.name: ViewSpec(view.part.plugin, view.of) for view in self.views}

    def route_of(self, view: str, main: str) -> str:
        """Return the batch-norm branch of a view."""
        return self.routes.get(view, main)


def routes_until(plans: Sequence[StagePlan]) -> tuple[str, ...]:
    """Return the batch-norm branches of the online encoder after these stages, the main one first."""
    found = [MAIN_ROUTE]
    for plan in plans:
        found += [*plan.routes.values(), *([plan.targets.route] if plan.targets else [])]
    return tuple(dict.fromkeys(found))


def layers_of(needs: frozenset[Need]) -> frozenset[str]:
    """Translate needs into encoder outputs."""
    layer = {Need.FEATURES: "h", Need.PROJECTION: "z", Need.PREDICTIONS: "logits"}
    return frozenset(layer[need] for need in needs if need in layer)


def _term_parts(term: TermPlan) -> list[Part]:
    return [term.objective] + ([term.selector] if term.selector else [])
