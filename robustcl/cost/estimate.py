"""What each stage of a recipe will take: steps, images, passes, operations, memory. Nothing is trained for it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from robustcl.composition.plan import RecipePlan
from robustcl.cost.network import NetworkCost, Networks
from robustcl.cost.on_noise import Probe, probe
from robustcl.cost.rates import Rates
from robustcl.cost.rehearsal import Rehearsed
from robustcl.cost.sizes import Sizes, find_sizes
from robustcl.data.held import LIMIT
from robustcl.train.plan import StagePlan

_NUMBER = 4
"""Bytes of a number in 32 bits."""
_COPIES = 4
"""Numbers for each weight: itself, its gradient, and two that an optimiser remembers, as Adam does; others fewer."""


@dataclass(frozen=True, slots=True)
class StageCost:
    """One stage; what depends on the number of images is ``None`` where nobody knows that.

    times: how often it is trained, of a protocol's once for each route. images: drawn from the data set, over all
    steps. passes, operations: over the whole stage; a pass is one image, once forward and backward through an encoder.
    memory: bytes at its peak. per_epoch: passes of an epoch, divided by the images of the data set; of_steps: passes
    over the whole stage without refreshes of clusters and samplers' surveys.
    """

    name: str
    epochs: int
    times: int
    samples: int | None
    steps: int | None
    images: int | None
    per_epoch: float
    of_steps: float | None
    operations: float | None
    memory: float

    @property
    def passes(self) -> float | None:
        """Passes of single images over the whole stage."""
        return None if self.samples is None else self.per_epoch * self.samples * self.epochs


@dataclass(frozen=True, slots=True)
class Cost:
    """All stages of a recipe, those of its protocols included; not the attacks that judge."""

    sizes: Sizes
    parameters: int
    stages: tuple[StageCost, ...]


@dataclass(frozen=True, slots=True)
class Timed:
    """A stage's hours, and of what they were found: ``images`` of a ``batch``, on a device."""

    hours: float
    images: int
    batch: int
    device: str


def estimate(plan: RecipePlan, networks: Networks | None = None) -> Cost:
    """Return the cost of every stage that is trained; ``networks`` remembers encoders that were counted before.

    Raises:
        RobustclError: a stage that fails in its first step.
    """
    sizes, networks, found = find_sizes(plan), networks or Networks(), list[StageCost]()
    for name, times, asked in rehearsals(plan, sizes):
        network = networks.count(plan, sizes, projected=_projected(asked.plan))
        found.append(_cost(name, times, asked, network))
    return Cost(sizes, networks.count(plan, sizes, projected=True).parameters, tuple(found))


def passes(plan: RecipePlan) -> dict[str, float]:
    """Return how often an epoch of each stage sends every training image forward and backward through an encoder.

    A forward alone counts as a third. Refreshes of clusters and samplers' surveys are shared out over the stage's
    epochs. What fills no batch is left out where the number of images is known.

    Raises:
        RobustclError: a stage that fails in its first step.
    """
    sizes = find_sizes(plan)
    asked = [Rehearsed(plan, *both, sizes) for both in zip(plan.recipe.stage, plan.stages, strict=True)]
    return {
        each.stage.name: _per_epoch(each.plan, probe(each), sizes.samples[each.stage.split]).passes
        for each in asked
        if each.plan.epochs > 0
    }


def rehearsals(plan: RecipePlan, sizes: Sizes) -> Iterator[tuple[str, int, Rehearsed]]:
    """Go through all that a recipe trains: a stage's name, how often it is trained, and the stage."""
    for stage, staged in zip(plan.recipe.stage, plan.stages, strict=True):
        if staged.epochs > 0:
            yield stage.name, 1, Rehearsed(plan, stage, staged, sizes)
    for evaluation in plan.evaluations:
        # The stages of two routes differ in nothing that takes time.
        for stage, staged in next(iter(evaluation.stages.values()), ()):
            yield f"{evaluation.table.use}/{stage.name}", len(evaluation.stages), Rehearsed(plan, stage, staged, sizes)


def _projected(plan: StagePlan) -> bool:
    read = [term.layers for term in plan.terms] + [g.maximise.layers for g in plan.generators if g.maximise is not None]
    return any("z" in layers for layers in read)


def _cost(name: str, times: int, asked: Rehearsed, network: NetworkCost) -> StageCost:
    found, plan, sizes = probe(asked), asked.plan, asked.sizes
    samples = sizes.samples[asked.stage.split]
    each = _per_epoch(plan, found, samples)
    held = 0 if samples is None else samples * math.prod(sizes.item)
    at_once = plan.batch if plan.micro_batch is None else min(plan.micro_batch, plan.batch)
    images = max(found.step.weights, float(found.step.inputs > 0)) * at_once
    copies = _COPIES + len(plan.ema) + len(plan.frozen)
    return StageCost(
        name=name,
        epochs=plan.epochs,
        times=times,
        samples=samples,
        steps=None if samples is None else _steps(plan, found, samples),
        images=None if samples is None else _seen(plan, found, samples),
        per_epoch=each.passes,
        of_steps=None if samples is None else found.step.passes * _seen(plan, found, samples),
        operations=None if samples is None else network.operations(each) * samples * plan.epochs,
        memory=_NUMBER * network.parameters * copies + network.kept * images + (held if held <= LIMIT else 0),
    )


def _steps(plan: StagePlan, found: Probe, samples: int) -> int:
    """Return the optimiser steps of a stage."""
    if found.chosen:
        return sum(epochs * max(round(share * samples / plan.batch), 1) for epochs, share in found.chosen)
    return plan.epochs * (max(samples // plan.batch, 1) if plan.drop_last else math.ceil(samples / plan.batch))


def _seen(plan: StagePlan, found: Probe, samples: int) -> int:
    """Return how many images a stage goes through."""
    if plan.drop_last:
        return _steps(plan, found, samples) * plan.batch
    return round(sum(epochs * share for epochs, share in found.chosen or ((plan.epochs, 1.0),)) * samples)


def _per_epoch(plan: StagePlan, found: Probe, samples: int | None) -> Rates:
    """Return what an epoch sends through encoders, divided by the images of the data set."""
    if samples is None:
        used = sum(epochs * share for epochs, share in found.chosen or ((plan.epochs, 1.0),)) / plan.epochs
    else:
        used = _seen(plan, found, samples) / (samples * plan.epochs)
    return found.step * used + found.refresh * (_refreshes(plan) / plan.epochs) + found.survey


def _refreshes(plan: StagePlan) -> int:
    """Return how often the clusters are fitted; those that an earlier stage leaves are not fitted again at once."""
    targets = plan.targets
    if targets is None:
        return 0
    if targets.every is None:
        return int(targets.init is None)
    return math.ceil(plan.epochs / targets.every - 1e-9)
