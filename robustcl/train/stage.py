"""A stage in progress, as a value that moves: what a checkpoint must hold, and what a sampler may look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from robustcl import hooks, ranks
from robustcl.data.draw import draw_views, drawable
from robustcl.data.subset import Images
from robustcl.errors import CheckpointError
from robustcl.hooks import PluginHooks
from robustcl.recipe import MAIN_ROUTE
from robustcl.rng import Rng
from robustcl.train.encoders import Encoders, freeze_idle
from robustcl.train.falling import LossCurve
from robustcl.train.log import Log
from robustcl.train.memory import PeakMemory
from robustcl.train.pairs import EpochMeans
from robustcl.train.plan import StagePlan
from robustcl.train.refresh import ClusterState
from robustcl.train.step import Step
from robustcl.types import Dims


class Place(Protocol):
    """Where a stage's tensors live, and of which type they are."""

    @property
    def device(self) -> torch.device:
        """Where tensors live."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """The type of weights and inputs."""
        ...


class StageState:
    """One stage in progress: everything that a checkpoint must hold, and what it was made of."""

    def __init__(
        self,
        plan: StagePlan,
        encoders: Encoders,
        images: Images,
        engine: Place,
        rng: Rng,
        keeping: Keeping,
        log: Log,
        say: Callable[[str], None],
    ) -> None:
        self.plan, self.encoders, self.images, self.engine = plan, encoders, images, engine
        self.rng, self.keeping, self.log, self.say = rng, keeping, log, say
        self.clusters = ClusterState()
        self.chosen_rows: Tensor | None = None
        self.done = 0
        self.epoch, self.within = 0, 0  # finished epochs, and batches of the one in progress
        self.seconds = 0.0
        self.pairs = EpochMeans()
        self.curve = LossCurve()
        self.memory = PeakMemory(engine.device)
        self._build_heads()
        freeze_idle(plan, encoders.online, MAIN_ROUTE)
        self.step = Step(plan, encoders)
        self.parameters = [p for p in self.step.parameters() if p.requires_grad]

    def inputs(self, rows: Tensor, x: Tensor, rng: Rng) -> dict[str, Any]:
        """Return the step's arguments for some images: drawn views, indices, labels, pretext targets, positions."""
        early, _ = drawable(self.plan.specs)
        drawn = draw_views(x.to(self.engine.dtype), rows, early, rng)
        return {
            "views": drawn.views,
            "index": rows,
            "label": self._labels()[rows],
            "target": drawn.target,
            "position": torch.arange(len(rows), device=x.device) + ranks.rank() * len(rows),
        }

    def _labels(self) -> Tensor:
        if self.plan.labels is None:
            return self.images.labels
        if self.clusters.clustering is None:
            raise CheckpointError(f"stage {self.plan.name} takes its labels from clusters, but has none")
        return self.clusters.clustering.assignment[self.plan.labels]

    def _build_heads(self) -> None:
        online = self.encoders.online
        clusters = self.plan.targets.clusters if self.plan.targets is not None else None
        dims = Dims(
            features=online.features,
            projection=online.projection,
            classes=online.classes,
            clusters=clusters or (),
            item=self.images.item,
            samples=self.images.samples,
        )
        for number, part in enumerate(self.plan.parts()):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.rng.child("build", number).seed())
                hooks.of(part.plugin, PluginHooks).build(dims)


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where a stage keeps its state, and how often."""

    folder: Path
    recipe_hash: str
    every_steps: int | None
    """Steps between checkpoints; ``None``: at the end of each epoch."""
    log_every: int = 10
    earlier: frozenset[str] = frozenset()
    """Hashes of the recipe before it was changed on resume, which older checkpoints carry."""
