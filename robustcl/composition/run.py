"""A run: stages in order, evaluation, results; every step of it can be cut off and taken up again."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w
import torch

from robustcl import ranks
from robustcl.composition import api, preflight, store
from robustcl.composition.data import Splits, open_splits
from robustcl.composition.evaluation import Evaluation
from robustcl.composition.lock import digest
from robustcl.composition.results import Results, describe_run
from robustcl.errors import UsageError
from robustcl.nn.encoder import Encoder, build_encoder
from robustcl.recipe import MAIN_ROUTE, Stage
from robustcl.rng import Rng
from robustcl.schedule import duration
from robustcl.train.checkpoint import write_atomically
from robustcl.train.encoders import Encoders
from robustcl.train.engine import Engine
from robustcl.train.log import Log, Watcher, watch_nothing
from robustcl.train.loop import Keeping, StageRun
from robustcl.train.plan import StagePlan

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run: its directory and its results."""

    path: Path
    results: Results


def start(
    composition: api.Composition,
    out: str | Path | None,
    *,
    device: str,
    devices: int,
    precision: str,
    watcher: Watcher,
    say: Say,
) -> Run:
    """Create the run directory and run; see ``Composition.train``."""
    _check_device(device)
    engine = Engine(device, devices, precision)
    engine.launch()
    folder = ranks.from_first(_free(composition, out) if ranks.rank() == 0 else None)
    # What cannot be run must not leave a directory behind that the next attempt would trip over.
    splits = open_splits(composition, engine.device)
    preflight.check(composition, splits)
    options = {"device": device, "devices": devices, "precision": precision}
    if ranks.rank() == 0:
        _create(composition, folder)
        write_atomically(folder / "run.json", json.dumps(options))
    ranks.wait()
    return execute(composition, folder, engine, watcher, say, splits)


def resume(path: str | Path, *, watcher: Watcher = watch_nothing, say: Say = lambda sentence: None) -> Run:
    """Continue a run where it was cut off; a finished one is only evaluated where something is missing.

    Raises:
        UsageError: the directory holds no run, or its recipe can no longer be composed as it was.
    """
    folder = Path(path)
    composition, options = reopen(folder)
    engine = Engine(options["device"], options["devices"], options["precision"])
    engine.launch()
    return execute(composition, folder, engine, watcher, say)


def execute(
    composition: api.Composition,
    folder: Path,
    engine: Engine,
    watcher: Watcher,
    say: Say,
    splits: Splits | None = None,
) -> Run:
    """Do whatever a run directory still lacks; the data are opened where ``splits`` does not bring them."""
    return _Execution(composition, folder, engine, watcher, say, splits).finish()


def reopen(folder: Path) -> tuple[api.Composition, dict[str, Any]]:
    """Return a run's composition, from its lock, and the device options it was started with."""
    if not folder.is_dir():
        raise UsageError(f"there is no run directory {folder}")
    if not (folder / "recipe.lock.toml").is_file():
        raise UsageError(f"{folder} holds no run: recipe.lock.toml is missing; start one with robustcl compose")
    composition = api.from_file(folder / "recipe.lock.toml")
    try:
        options = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        options = {"device": "auto", "devices": 1, "precision": "32-true"}
    return composition, options


def _check_device(device: str) -> None:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise UsageError(f'--device {device!r} is not known; write "auto", "cpu", "cuda" or "cuda:1"')
    number = device.partition(":")[2]
    if number and 0 < torch.cuda.device_count() <= int(number):
        raise UsageError(f"--device {device}: torch sees {torch.cuda.device_count()} CUDA devices here, counted from 0")


def _free(composition: api.Composition, out: str | Path | None) -> Path:
    """Return the run directory's path, which is free to be made."""
    if out is None:
        moment = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        out = Path("runs") / f"{moment}-{composition.recipe.name}-seed{composition.recipe.seed}"
    folder = Path(out)
    try:
        there = folder.exists() and any(folder.iterdir())
    except OSError as error:
        raise UsageError(f"--out {folder} cannot be used: {error.strerror}; choose another directory") from None
    if there:
        held = "another run" if (folder / "recipe.lock.toml").is_file() else "other files"
        raise UsageError(
            f"--out {folder} exists and holds {held}; choose another directory"
            + (f", or continue it with robustcl resume {folder}" if held == "another run" else "")
        )
    return folder


def _create(composition: api.Composition, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "recipe.toml", tomli_w.dumps(dict(composition.tables)))
        write_atomically(folder / "recipe.lock.toml", tomli_w.dumps(composition.lock()))
    except OSError as error:
        raise UsageError(f"--out {folder} cannot be written: {error.strerror}; choose another directory") from None


@dataclass(slots=True)
class _Execution:
    """One process at work on a run."""

    composition: api.Composition
    folder: Path
    engine: Engine
    watcher: Watcher
    say: Say
    splits: Splits | None = None
    hash: str = field(init=False)

    def __post_init__(self) -> None:
        self.hash = digest(self.composition)

    def finish(self) -> Run:
        recipe = self.composition.recipe
        with _only_one(self.folder):
            splits = self.splits or open_splits(self.composition, self.engine.device)
            for number, (stage, plan) in enumerate(zip(recipe.stage, self.composition.stages, strict=True)):
                if store.facts(self.folder, stage.name) is None:
                    self.say(f"stage {stage.name}: {stage.epochs} epochs")
                    self.train(stage, plan, splits, number)
            evaluation = Evaluation(self, splits) if self.composition.evaluations else None
            started = time.monotonic()
            measured = evaluation.measure() if evaluation is not None else {"rows": [], "security": []}
            seconds = time.monotonic() - started
            results = Results(describe_run(self.composition, self.folder, splits, measured, seconds, self.engine))
            if ranks.rank() == 0:
                write_atomically(self.folder / "results.json", json.dumps(results.tables, indent=1))
            ranks.wait()
        return Run(self.folder, results)

    def train(
        self,
        stage: Stage,
        plan: StagePlan,
        splits: Splits,
        number: int,
        *,
        name: str | None = None,
        online: Encoder | None = None,
    ) -> Encoder:
        """Train one stage and keep its outcome under ``name``; starts from ``online`` where that is given."""
        name = name or stage.name
        rng = Rng(self.composition.recipe.seed, "stage", name)
        images = splits.of(stage.split, plan)
        encoders = self._encoders(stage, plan, splits, rng, online)
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
        run.train()
        if ranks.rank() == 0:
            store.save(self.folder, name, encoders, run.clusters, {
                "number": number, "seconds": run.seconds, "steps": run.done,
                "chosen": run.clusters.chosen, "curve": run.clusters.curve,
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
        return Keeping(self.folder / "checkpoints" / name, self.hash, every, settings.log_every)

    def _encoders(self, stage: Stage, plan: StagePlan, splits: Splits, rng: Rng, online: Encoder | None) -> Encoders:
        if online is None:
            online = self._initial(stage, plan, splits, rng)
        needs_classifier = any("logits" in term.layers for term in plan.terms)
        classes = len(splits.classes) if plan.labels is None else self._pseudo_classes(plan)
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
            name: store.load(store.resolve(origin, self.folder))
            for name, origin in stage.encoders.items()
            if isinstance(origin, str)
        }
        return Encoders(online, frozen, plan.ema)

    def _pseudo_classes(self, plan: StagePlan) -> int:
        clusters = plan.targets.clusters if plan.targets is not None else None
        if plan.targets is not None and plan.targets.init is not None:
            clusters = store.clusters(self.folder, plan.targets.init, self.engine.device).chosen
        if clusters is None or plan.labels is None or plan.labels >= len(clusters):
            raise UsageError(
                f"stage.{plan.name}.labels: a classifier of pseudo-labels needs a fixed number of clusters; "
                "set targets.clusters to a number"
            )
        return clusters[plan.labels]

    def _initial(self, stage: Stage, plan: StagePlan, splits: Splits, rng: Rng) -> Encoder:
        """Return the online encoder that a stage starts from, with all routes that the stage uses."""
        routes = api.routes_until([plan])
        if stage.init is not None:
            loaded = store.load(store.resolve(stage.init, self.folder))
            if stage.init_route is not None:
                loaded = loaded.rerouted({MAIN_ROUTE: stage.init_route})
            wanted = tuple(dict.fromkeys([*loaded.routes, *routes]))
            main = loaded.routes[0]
            # A branch that the earlier stage never trained starts as a copy of its main one.
            return loaded.rerouted({route: route if route in loaded.routes else main for route in wanted})
        table = self.composition.recipe.encoder
        assert table is not None
        return build_encoder(
            self.composition.encoder.plugin,
            name=table.use,
            item=splits.train.item,
            classes=0,
            projector=self.composition.projector,
            mean=splits.mean,
            std=splits.std,
            routes=routes,
            rng=Rng(self.composition.recipe.seed, "init", stage.name),
        )


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Refuse a second process on the same run directory; the lock dies with its process."""
    if ranks.rank() != 0:
        yield
        return
    import fcntl

    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"another process is at work on {folder}; wait for it, or choose another --out") from None
        file.write(str(os.getpid()))
        yield
