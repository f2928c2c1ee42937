"""What a sampler may see between two steps: images, features, gradients of the stage's own loss. It leaves no trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from robustcl import ranks
from robustcl.errors import NeedNotMet, UsageError
from robustcl.nn.modes import hold_mode
from robustcl.options.duration import Progress
from robustcl.recipe import MAIN_ROUTE
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.train.encoders import at_least_float32
from robustcl.train.plan import StagePlan
from robustcl.train.stage import StageState
from robustcl.train.step import Moment
from robustcl.types import Batch


class RunSurvey:
    """A ``Survey`` of a stage in progress; scheduled numbers are those of the epoch that begins."""

    def __init__(self, run: StageState, rng: Rng) -> None:
        self._run = run
        self.rng = rng
        self.lasting = run.rng.child("survey")
        self.samples = run.images.samples
        self.labels = run.images.labels
        self.batch = run.plan.batch
        self._now = _now(run)
        for part in run.plan.parts():
            part.move_to(self._now)

    @property
    def ball(self) -> Ball:
        """The ball of the stage's first generator."""
        if not self._run.plan.generators:
            raise NeedNotMet(
                f"stage {self._run.plan.name}: the sampler asks for a ball, but the stage has no generator"
            )
        return self._run.plan.generators[0].ball

    def take(self, rows: Tensor) -> Batch:
        """Return the images of some indices with the stage's views."""
        rows = self._here(rows)
        return Batch(**self._run.inputs(rows, self._run.images.fetch(rows), self.rng.child("take")))

    def originals(self, rows: Tensor) -> Tensor:
        """Return the images (S, *item) of some indices as they are, without a view."""
        return self._run.images.fetch(self._here(rows)).to(self._run.engine.dtype)

    def embed(self, view: str, path: str, rows: Tensor) -> Tensor:
        """Return features (S, F) of a view through ``encoder:route``, without a graph."""
        encoder, _, route = path.partition(":")
        x = self.take(rows).views[view]
        return self._run.encoders.embed_constant(x, encoder, route or MAIN_ROUTE, frozenset({"h"})).h

    def parameters(self, part: str) -> dict[str, Tensor]:
        """Return copies of the parameters of one part of the online encoder, by their names, as leaves of a graph."""
        named = self._part(part).named_parameters()
        return {f"{part}.{name}": value.detach().clone().requires_grad_() for name, value in named}

    def encode(self, x: Tensor, path: str, layer: str, parameters: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return one layer (S, ...) of inputs through ``encoder:route``, in eval mode, with a graph.

        ``parameters`` stand in for the encoder's own of the same names, which stay as they are.
        """
        encoder, _, route = path.partition(":")
        module = self._run.encoders[encoder]
        with hold_mode(module, "eval"):
            arguments = (x, route or MAIN_ROUTE, frozenset({layer}))
            value: Tensor = getattr(functional_call(module, dict(parameters or {}), arguments), layer)
        self._run.encoders.passes.count(x, [value], module)
        return at_least_float32(value)

    def gradient(self, rows: Tensor, parameters: str, mode: str = "batch") -> list[Tensor]:
        """Return the gradient of the stage's mixed loss on these images for one part of the online encoder.

        ``parameters`` names a sub-module, e.g. ``"projector"``; what the loss does not reach has gradient zero.
        ``mode`` of batch norm: "batch" statistics, or those kept so far, "eval"; none is updated. With several ranks
        each takes its share of the images, and all have the gradient of the whole.

        Raises:
            UsageError: the ranks cannot share the images equally.
        """
        run, wanted = self._run, list(self._part(parameters).parameters())
        rows = _share(self._here(rows))
        run.step.moment = Moment(self._now, self.rng, run.clusters.clustering)
        run.step.plan = _still(run.plan, mode)
        try:
            losses = run.step(**run.inputs(rows, run.images.fetch(rows), self.rng.child("gradient")))
        finally:
            run.step.plan = run.plan
            run.step.scenes = []
        reached = [parameter for parameter in wanted if parameter.requires_grad]
        found = dict(zip(reached, torch.autograd.grad(losses["total"], reached, allow_unused=True), strict=True))
        return [_over_ranks(found.get(parameter), parameter) for parameter in wanted]

    def _here(self, rows: Tensor) -> Tensor:
        return rows.to(self._run.images.device)

    def _part(self, name: str) -> nn.Module:
        try:
            return self._run.encoders.online.get_submodule(name)
        except AttributeError as error:
            raise UsageError(f"the sampler asks for the part {name!r}, which the encoder lacks: {error}") from None


def _now(run: StageState) -> Progress:
    """Return where the stage stands; the number of its steps is an estimate, as the sampler is about to choose."""
    rows = run.chosen_rows
    batches = len(rows) if rows is not None and rows.dim() == 2 else _images(run) // run.plan.batch
    left = (run.plan.epochs - run.epoch) * max(batches, 1)
    return Progress(run.done, run.done + left, float(run.epoch), float(run.plan.epochs))


def _images(run: StageState) -> int:
    return run.images.samples if run.chosen_rows is None else len(run.chosen_rows)


def _still(plan: StagePlan, mode: str) -> StagePlan:
    """Return the plan with forwards and attacks that move no running statistics."""
    generators = [replace(g, mode="batch") if g.mode == "train" else g for g in plan.generators]
    return replace(plan, mode=mode, generators=tuple(generators))


def _share(rows: Tensor) -> Tensor:
    """Return this rank's share: a loss that compares images of all ranks must not see one twice."""
    if len(rows) % ranks.world():
        raise UsageError(
            f"the sampler asks for a gradient on {len(rows)} images, which {ranks.world()} processes cannot share "
            f"equally: let it take a multiple of {ranks.world()}"
        )
    return rows.chunk(ranks.world())[ranks.rank()]


def _over_ranks(gradient: Tensor | None, parameter: Tensor) -> Tensor:
    """Return the mean over ranks, as DDP forms it; the loss is scaled for that."""
    here = torch.zeros_like(parameter) if gradient is None else gradient
    return ranks.total(here) / ranks.world() if ranks.world() > 1 else here
