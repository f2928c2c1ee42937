"""One stage of a run: its images, the encoders it starts from, its training, and what it leaves on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from robustcl import ranks
from robustcl.composition.lock import digest, digest_until
from robustcl.composition.plan import RecipePlan
from robustcl.errors import UsageError
from robustcl.nn.encoder import Encoder, build_encoder
from robustcl.options.duration import parse_duration
from robustcl.recipe import MAIN_ROUTE, Stage
from robustcl.rng import Rng
from robustcl.run import averages, changes
from robustcl.run.splits import Splits
from robustcl.train import stage_files
from robustcl.train.encoders import Encoders
from robustcl.train.engine import Engine
from robustcl.train.log import Log, Watcher
from robustcl.train.loop import StageRun
from robustcl.train.plan import StagePlan, routes_until
from robustcl.train.stage import Keeping

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stages:
    """Trains stages of one composition in one run directory."""

    composition: RecipePlan
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
        encoders = _encoders(self, stage, plan, rng, online)
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
            run.clusters = stage_files.clusters(self.folder, plan.targets.init, self.engine.device)
        if "recipe" in trained:
            for encoder in averages.list_taken(self.composition, plan.name):
                if sentence := averages.stale(plan, encoder, plan.epochs * per_epoch):
                    self.say(sentence)
        run.train()
        if ranks.rank() == 0:
            stage_files.save(self.folder, name, encoders, run.clusters, {
                "number": number, "seconds": run.seconds, "steps": run.done,
                "chosen": run.clusters.chosen, "curve": run.clusters.curve, "objective": run.curve.facts(),
                **_taken(run), **trained,
            })  # fmt: skip
        ranks.wait()
        return encoders.online

    def _keeping(self, name: str, per_epoch: int) -> Keeping:
        settings = self.composition.recipe.run
        length = parse_duration(settings.checkpoint, "run.checkpoint")
        steps = {"steps": length.amount, "epochs": length.amount * per_epoch}.get(length.unit)
        if steps is None:
            raise UsageError(f'run.checkpoint = {settings.checkpoint!r}: write "1 epoch" or "50 steps"')
        every = None if length.unit == "epochs" and length.amount == 1 else max(round(steps), 1)
        earlier = changes.digests(self.composition.recipe.lock)
        folder = self.folder / "checkpoints" / name
        return Keeping(folder, digest(self.composition), every, settings.log_every, earlier)


def _taken(run: StageRun) -> dict[str, float]:
    """Return passes, in units of the stage's images, and peak memory in bytes, as far as they are known."""
    passes, memory = run.encoders.passes, run.memory.read()
    found = {"passes": passes.images / run.images.samples} if passes.complete else {}
    return found | ({} if memory is None else {"memory": memory})


def build_untrained(composition: RecipePlan, splits: Splits, routes: Sequence[str], rng: Rng) -> Encoder:
    """Return the recipe's encoder as a stage without ``init`` starts from it, without a classifier.

    Raises:
        UsageError: its backbone cannot be trained.
    """
    table = composition.recipe.encoder
    assert table is not None
    return build_encoder(
        composition.encoder.plugin,
        name=table.use,
        item=splits.train.item,
        classes=0,
        projector=composition.projector,
        mean=splits.mean,
        std=splits.std,
        routes=routes,
        rng=rng,
    )


def _encoders(run: Stages, stage: Stage, plan: StagePlan, rng: Rng, online: Encoder | None) -> Encoders:
    """Return a stage's encoders: the online one (from ``online`` where that is given), followers, frozen ones."""
    if online is None:
        online = _initial(run, stage, plan)
    needs_classifier = any("logits" in term.layers for term in plan.terms)
    classes = len(run.splits.classes) if plan.labels is None else _pseudo_classes(run, plan)
    if stage.classifier != "keep":
        online.reset_classifier(classes, init=stage.classifier, rng=rng.child("classifier"))
    elif needs_classifier and online.classes == 0:
        online.reset_classifier(classes, init="default", rng=rng.child("classifier"))
    elif needs_classifier and online.classes != classes:
        raise UsageError(
            f"stage.{stage.name}: the classifier has {online.classes} outputs and the labels {classes} classes; "
            'set classifier = "zero" or "default" to start a new one'
        )
    frozen = {
        name: stage_files.load(stage_files.resolve(origin, run.folder))
        for name, origin in stage.encoders.items()
        if isinstance(origin, str)
    }
    return Encoders(online, frozen, plan.ema, plan.micro_batch)


def _pseudo_classes(run: Stages, plan: StagePlan) -> int:
    clusters = plan.targets.clusters if plan.targets is not None else None
    if plan.targets is not None and plan.targets.init is not None:
        clusters = stage_files.clusters(run.folder, plan.targets.init, run.engine.device).chosen
    if clusters is None or plan.labels is None or plan.labels >= len(clusters):
        raise UsageError(
            f"stage.{plan.name}.labels: a classifier of pseudo-labels needs a fixed number of clusters; "
            "set targets.clusters to a number"
        )
    return clusters[plan.labels]


def _initial(run: Stages, stage: Stage, plan: StagePlan) -> Encoder:
    """Return the online encoder that a stage starts from, with all routes that the stage uses."""
    routes = routes_until([plan])
    if stage.init is not None:
        loaded = stage_files.load(stage_files.resolve(stage.init, run.folder))
        if stage.init_route is not None:
            loaded = loaded.rerouted({MAIN_ROUTE: stage.init_route})
        wanted = tuple(dict.fromkeys([*loaded.routes, *routes]))
        main = loaded.routes[0]
        # A branch that the earlier stage never trained starts as a copy of its main one.
        return loaded.rerouted({route: route if route in loaded.routes else main for route in wanted})
    return build_untrained(run.composition, run.splits, routes, Rng(run.composition.recipe.seed, "init", stage.name))
