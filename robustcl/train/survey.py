"""What a sampler may see between two steps: images, features, gradients of the stage's own loss. It leaves no trace."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robustcl.rng import Rng
from robustcl.schedule import Progress
from robustcl.train.step import Moment
from robustcl.types import Batch

if TYPE_CHECKING:
    from robustcl.train.loop import StageRun


class RunSurvey:
    """A ``Survey`` of a stage in progress."""

    def __init__(self, run: StageRun, rng: Rng) -> None:
        self._run = run
        self.rng = rng
        self.ball = run.plan.generators[0].ball if run.plan.generators else None
        self.samples = run.images.samples

    def take(self, rows: Tensor) -> Batch:
        """Return the images of some indices with the stage's views."""
        return Batch(**self._run.inputs(rows, self._run.images.fetch(rows), self.rng.child("take")))

    def embed(self, view: str, path: str, rows: Tensor) -> Tensor:
        """Return features (S, F) of a view through ``encoder:route``, without a graph."""
        encoder, _, route = path.partition(":")
        x = self.take(rows).views[view]
        return self._run.encoders.embed_constant(x, encoder, route or "clean", frozenset({"h"})).h

    def gradient(self, rows: Tensor, parameters: str) -> list[Tensor]:
        """Return the gradient of the stage's mixed loss on these images for one part of the online encoder.

        ``parameters`` names a sub-module, e.g. ``"projector"``. Batch statistics are used and none is updated.
        """
        run = self._run
        run.step.moment = Moment(Progress(run.done, run.done + 1, 0.0, 1.0), self.rng, run.clusters.clustering)
        wanted = list(run.encoders.online.get_submodule(parameters).parameters())
        run.step.plan = replace(run.plan, mode="batch")
        try:
            losses = run.step(**run.inputs(rows, run.images.fetch(rows), self.rng.child("gradient")))
        finally:
            run.step.plan = run.plan
            run.step.scenes = []
        return list(torch.autograd.grad(losses["total"], wanted))
