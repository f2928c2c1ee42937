"""What a stage sends through its encoders, found by running its real step once, on a few images of noise.

Counted on a stand-in for the encoder, because the number of forwards is the method's and not the network's; where the
method asks for the network's inner parts, on the network itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from robustcl.cost.rates import Rates, counted
from robustcl.cost.rehearsal import Processor, Rehearsed, build, moment, rehearse
from robustcl.cost.stand_in import StandIn
from robustcl.cost.surveys import Chosen, survey_stage
from robustcl.errors import UsageError
from robustcl.protocols import EncoderPlugin
from robustcl.rng import Rng
from robustcl.train import rowwise
from robustcl.train.passes import Passes
from robustcl.train.plan import StagePlan
from robustcl.train.refresh import embed_all
from robustcl.train.stage import StageState
from robustcl.train.step import Moment

_BATCH = 8
_MOMENTS = (0.125, 0.375, 0.625, 0.875)
"""Where in a stage a step is tried whose attack follows a schedule."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What one image costs a stage.

    step: for each image of a batch. refresh: for each image of the data set and refresh of the clusters. survey: for
    each image of the data set and epoch, on average over the stage. chosen: where a sampler chooses, for how many
    epochs it chooses which share of the data set, in whole batches.
    """

    step: Rates
    refresh: Rates
    survey: Rates
    chosen: Chosen


def probe(asked: Rehearsed) -> Probe:
    """Run a stage's step once and count; a sampler's survey and a refresh of its clusters too.

    Raises:
        RobustclError: what the stage itself would raise.
    """
    if asked.plan.micro_batch is not None:
        encoder = build(asked, asked.plan, asked.composition.encoder.plugin)
        rowwise.require(asked.plan, encoder, f"stage.{asked.plan.name}")
    try:
        return _probe(asked, StandIn())
    except _Often:
        raise
    except Exception:  # a stranger's part that looks into the network may raise anything
        return _probe(asked, asked.composition.encoder.plugin)


class _Often(UsageError):
    """A step that takes too long for a glance."""


class _Glance(Passes):
    """A count that ends where a step embeds more often than any published method does."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def add(self, kind: str, images: int) -> None:
        self.calls += 1
        if self.calls > _CALLS:
            raise _Often(f"one step asks the encoder more than {_CALLS:,} times, and is not counted")
        super().add(kind, images)


_CALLS = 2000


def _probe(asked: Rehearsed, plugin: EncoderPlugin) -> Probe:
    batch = min(asked.plan.batch, _BATCH)
    small = replace(asked, plan=replace(asked.plan, batch=batch, micro_batch=_micro_batch(asked.plan, batch)))
    run = rehearse(small, StageState, plugin, Processor(), batch)
    survey, chosen = survey_stage(asked, small, plugin)
    return Probe(_step(run), _refresh(run), survey, chosen)


def _micro_batch(plan: StagePlan, batch: int) -> int | None:
    """Return micro batches of so few images that a batch of ``batch`` is cut where the stage's own is."""
    if plan.micro_batch is None or plan.micro_batch >= plan.batch:
        return None
    return batch // 2


def _step(run: StageState) -> Rates:
    """Return what one image of a batch costs."""
    if run.plan.epochs == 0:
        return Rates()
    scheduled = any(generator.part.schedules for generator in run.plan.generators)
    moments = _MOMENTS if scheduled else (0.5,)
    rows, total, rng = torch.arange(run.plan.batch), Rates(), Rng(0, "cost", "step")
    for part in moments:
        now = moment(run.plan, part)
        for plugin in run.plan.parts():
            plugin.move_to(now)
        run.step.moment = Moment(now, rng, run.clusters.clustering)
        run.step.train()
        run.encoders.passes = _Glance()
        losses = run.step(**run.inputs(rows, run.images.fetch(rows), rng))
        losses["total"].backward()
        total += counted(run) * (1 / run.plan.batch / len(moments))
    return total


def _refresh(run: StageState) -> Rates:
    """Return what one image of the data set costs at each refresh of the clusters."""
    if run.plan.targets is None:
        return Rates()
    run.encoders.passes = Passes()
    embed_all(run.plan.targets, run.encoders, run.images, Rng(0, "cost", "refresh"))
    return counted(run) * (1 / run.images.samples)
