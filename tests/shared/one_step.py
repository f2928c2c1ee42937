"""One training step of an installed recipe on a few digits: what its terms saw, and what they made of it.

For golden tests of whole recipes: the embeddings of every term go through the paper's formula as naked loops, and
that must give the step's losses.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from robustcl import api, compose
from robustcl.nn.encoder import Encoder, build_encoder
from robustcl.options.schedule import Progress
from robustcl.recipe import MAIN_ROUTE
from robustcl.rng import Rng
from robustcl.run.splits import Splits, open_splits
from robustcl.train.encoders import Encoders
from robustcl.train.engine import Engine
from robustcl.train.log import Log
from robustcl.train.loop import StageRun
from robustcl.train.plan import StagePlan, routes_until
from robustcl.train.refresh import refresh
from robustcl.train.stage import Keeping
from robustcl.train.step import Moment
from robustcl.types import Batch, Scene

IMAGES = 8
TINY = ("encoder.use=resnet-small", "encoder.width=2")


@dataclass(frozen=True, slots=True)
class Seen:
    """losses: weighted, ``term/name`` and ``total``; scenes: by term; run: the stage, its plan and encoders."""

    losses: dict[str, Tensor]
    scenes: dict[str, Scene]
    run: StageRun

    @property
    def batch(self) -> Batch:
        """The images as the terms saw them, perturbed views included."""
        return next(iter(self.scenes.values())).batch


_IMAGES = ("data.validation=0.1",)
"""Which images are seen: tests ask that filters find something among them."""


def one_step(
    recipe: str, stage: str | None = None, overrides: Sequence[str] = (), *, progress: float = 0.0, images: int = IMAGES
) -> Seen:
    """Take the forward of one step, in float64, after ``progress`` (0 .. 1) of the stage, with published numbers.

    The encoder is tiny and freshly initialised with unequal batch-norm branches; earlier stages are not trained:
    frozen encoders are fresh ones too. ``overrides`` are dotted. ``losses`` keep their graph, so gradients may be
    compared as well.
    """
    composition = compose(recipe=recipe, budget="paper", overrides=[*TINY, *_IMAGES, *overrides])
    return step_of(composition, stage, progress=progress, images=images)


def step_of(
    composition: api.Composition, stage: str | None = None, *, progress: float = 0.0, images: int = IMAGES
) -> Seen:
    """Take one step of a composition, as ``one_step`` does."""
    plan = next(p for p in composition.stages if stage in (None, p.name) and p.epochs > 0)
    with tempfile.TemporaryDirectory() as folder:
        run = stage_run(composition, plan, Path(folder))
        rng = Rng(0, "step")
        rows = torch.arange(100, 100 + images)
        total = 1000
        now = Progress(round(progress * total), total, progress * plan.epochs, float(plan.epochs))
        if plan.targets is not None:
            refresh(run.clusters, plan.targets, run.encoders, run.images, 0.0, Rng(0, "clusters"))
        for part in plan.parts():
            part.move_to(now)
        run.step.moment = Moment(now, rng, run.clusters.clustering)
        run.step.train()
        losses = run.step(**run.inputs(rows, run.images.fetch(rows), rng))
        return Seen(losses, {term.name: scene for term, scene in run.step.scenes}, run)


def stage_run(composition: api.Composition, plan: StagePlan, folder: Path) -> StageRun:
    """Return a stage ready to take steps in float64, with the encoders that ``one_step`` describes."""
    engine = Engine("cpu", 1, "64-true")
    splits = open_splits(composition, engine.device)
    online = _encoder(composition, splits, routes_until([plan]), "online")
    online.reset_classifier(len(splits.classes), init="default", rng=Rng(0, "classifier"))
    online.double()
    frozen = {name: _encoder(composition, splits, (MAIN_ROUTE,), name) for name in plan.frozen}
    encoders = Encoders(online, frozen, plan.ema, plan.micro_batch)
    table = next(table for table in composition.recipe.stage if table.name == plan.name)
    images = splits.of(table.split, plan)
    keeping = Keeping(folder / "checkpoints", "hash", None)
    run = StageRun(plan, encoders, images, engine, Rng(0, "stage"), keeping, Log(folder, plan.name), print)
    run.step.double()
    return run


def _encoder(composition: api.Composition, splits: Splits, routes: tuple[str, ...], name: str) -> Encoder:
    assert composition.recipe.encoder is not None
    encoder = build_encoder(
        composition.encoder.plugin,
        name=composition.recipe.encoder.use,
        item=splits.train.item,
        classes=0,
        projector=composition.projector,
        mean=splits.mean,
        std=splits.std,
        routes=routes,
        rng=Rng(0, "encoder", name),
    )
    # Branches that differ, as after training: on equal ones an adversarial view starts where its loss has gradient 0,
    # and the sign of what rounding leaves of it decides.
    for number, (key, parameter) in enumerate(encoder.named_parameters()):
        if parameter.dim() == 1:
            parameter.data += Rng(2, key, number).uniform(parameter.shape, -0.3, 0.3)
    return encoder.double()
