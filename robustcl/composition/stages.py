"""One stage of a run: its images, its encoders, its training, and what it leaves in the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from robustcl import ranks
from robustcl.composition import averages, changes, origins, store
from robustcl.composition.lock import digest, digest_until
from robustcl.duration import duration
from robustcl.errors import UsageError
from robustcl.nn.encoder import Encoder
from robustcl.recipe import Stage
from robustcl.rng import Rng
from robustcl.train.engine import Engine
from robustcl.train.log import Log, Watcher
from robustcl.train.loop import Keeping, StageRun
from robustcl.train.plan import StagePlan

if TYPE_CHECKING:
    from robustcl.composition.api import Composition
    from robustcl.composition.data import Splits

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stages:
    """Trains stages of one composition in one run directory."""

    composition: Composition
    folder: Path
    engine: Engine
    watcher: Watcher
    say: Say
    splits: Splits

    def train(
        self,
        stage: Stage,
        plan: StagePlan,
        *,
        number: int = 0,
        name: str | None = None,
        online: Encoder | None = None,
        settings: str | None = None,
    ) -> Encoder:
        """Train one stage and keep its outcome under ``name``; starts from ``online`` where that is given.

        ``settings``: the digest of a protocol's stage, which belongs to no one recipe.
        """
        trained = {"settings": settings} if name else {"recipe": digest_until(self.folder, number)}
        name = name or stage.name
        rng = Rng(self.composition.recipe.seed, "stage", name)
        images = self.splits.of(stage.split, plan)
        encoders = origins.encoders(self, stage, plan, rng, online)
        per_epoch = max(images.samples // plan.batch, 1)
        run = StageRun(
            plan,
            encoders,
            images,
            self.engine,
            rng,
            self._keeping(name, per_epoch),
            Log(self.folder, name, self.watcher),
            self.say,
        )
        if plan.targets is not None and plan.targets.init is not None:
            run.clusters = store.clusters(self.folder, plan.targets.init, self.engine.device)
        if "recipe" in trained:
            for encoder in averages.taken(self.composition, plan.name):
                if sentence := averages.stale(plan, encoder, plan.epochs * per_epoch):
                    self.say(sentence)
        run.train()
        if ranks.rank() == 0:
            store.save(self.folder, name, encoders, run.clusters, {
                "number": number, "seconds": run.seconds, "steps": run.done,
                "chosen": run.clusters.chosen, "curve": run.clusters.curve, "objective": run.curve.facts(), **trained,
            })  # fmt: skip
        ranks.wait()
        return encoders.online

    def _keeping(self, name: str, per_epoch: int) -> Keeping:
        settings = self.composition.recipe.run
        length = duration(settings.checkpoint, "run.checkpoint")
        steps = {"steps": length.amount, "epochs": length.amount * per_epoch}.get(length.unit)
        if steps is None:
            raise UsageError(f'run.checkpoint = {settings.checkpoint!r}: write "1 epoch" or "50 steps"')
        every = None if length.unit == "epochs" and length.amount == 1 else max(round(steps), 1)
        earlier = changes.digests(self.composition.recipe.lock)
        folder = self.folder / "checkpoints" / name
        return Keeping(folder, digest(self.composition), every, settings.log_every, earlier)
