"""What a finished stage would choose next: a batch of its images once more, through its last encoder, and the pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import nn

from robustcl.composition.plan import RecipePlan
from robustcl.data.order import epoch_batches
from robustcl.errors import NotMeasured, UsageError, near
from robustcl.options.duration import Progress
from robustcl.rng import Rng
from robustcl.run.splits import Splits
from robustcl.train import stage_files
from robustcl.train.encoders import Encoders
from robustcl.train.engine import Engine
from robustcl.train.log import Log
from robustcl.train.plan import StagePlan, TermPlan
from robustcl.train.stage import Keeping, StageState
from robustcl.train.step import Moment
from robustcl.types import Scene


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """The candidates of one anchor that attract it and that repel it, by the view that they are seen as.

    anchor: (*item) as the term's first view has it. label: its class. picked: (side, view) -> (n, *item), in the order
    of the batch; sides are "positive" and "negative".
    """

    anchor: NDArray[Any]
    label: int
    picked: Mapping[tuple[str, str], NDArray[Any]]


def choose_again(
    plan: RecipePlan, folder: Path, engine: Engine, splits: Splits, stage: StagePlan, term: TermPlan, anchor: int
) -> Chosen:
    """Return what a term's selector makes of the first batch of a stage, for one of its images.

    The batch, its views and its attacks draw from the streams of the stage's seed and name, so that stages of the same
    name and seed, trained for more or fewer epochs, are shown the same images. Nothing of the run is changed.

    anchor: the place of the image in the batch, from 0.

    Raises:
        UsageError: no such image, or a stage that remembers more than its encoders and clusters.
    """
    if any(isinstance(part.plugin, nn.Module) for part in stage.parts()):
        raise UsageError(
            f"the stage {stage.name} of {folder} has parts that remember: a finished stage keeps no memory"
        )
    scene = _scene(plan, folder, engine, splits, stage, term)
    images = len(scene.batch.index)
    if not 0 <= anchor < images:
        raise UsageError(f"anchor = {anchor}: a batch of the stage {stage.name} has the images 0 to {images - 1}")
    views = list(term.anchors(stage.frozen).values())
    seen = [scene.batch.views[view.partition("@")[0]].cpu().numpy() for view in views]
    picked = {}
    for side in ("positive", "negative"):
        chosen = (getattr(scene.pairs, side)[anchor] > 0).cpu().numpy()
        for place, view in enumerate(views):
            mine = scene.columns.view.cpu().numpy() == place
            picked[side, view] = seen[place][chosen[mine]]
    return Chosen(seen[0][anchor], int(scene.batch.label[anchor]), picked)


def find_term(stage: StagePlan, name: str | None, where: str) -> TermPlan:
    """Return a term of a stage whose selector chooses among the batch, the first one where none is named.

    Raises:
        NotMeasured: there is none, or none of this name.
    """
    terms = {term.name: term for term in stage.terms if term.selector is not None}
    if not terms:
        raise NotMeasured(f"{where}: no term of the stage {stage.name} selects pairs")
    if name is not None and name not in terms:
        known = ", ".join(terms)
        said = f"the stage {stage.name} has no term {name!r} that selects pairs{near(name, terms)}; {known} do"
        raise NotMeasured(f"{where}: {said}")
    return terms[name or next(iter(terms))]


def _scene(plan: RecipePlan, folder: Path, engine: Engine, splits: Splits, stage: StagePlan, term: TermPlan) -> Scene:
    """Take the forward of one step at the stage's end, and return what the term saw."""
    table = next(table for table in plan.recipe.stage if table.name == stage.name)
    images, rng = splits.of(table.split, stage), Rng(plan.recipe.seed, "stage", stage.name)
    state = StageState(stage, _encoders(folder, table.encoders, stage), images, engine, rng,
                       Keeping(folder, "", None), Log(folder, stage.name), _say_nothing)  # fmt: skip
    if stage.targets is not None:
        state.clusters = stage_files.clusters(folder, f"stage:{stage.name}", engine.device)
    for encoder in (*state.encoders.ema.values(), *state.encoders.frozen.values()):
        engine.place(encoder)
    engine.place(state.step)
    steps = int((stage_files.facts(folder, stage.name) or {}).get("steps", 1))
    end = Progress(steps, steps, float(stage.epochs), float(stage.epochs))
    for part in stage.parts():
        part.move_to(end)
    rows = epoch_batches(images.samples, stage.batch, rng.child("order", 0), drop_last=False)[0]
    draws = rng.child("choose again")
    state.step.moment = Moment(end, draws, state.clusters.clustering)
    state.step.train()
    (held,) = images.batches([rows])
    with engine.autocast():
        state.step(**state.inputs(*held, draws))
    scene = {one.name: seen for one, seen in state.step.scenes}[term.name]
    if scene.pairs.has("columns"):
        raise UsageError(f"the selector of {term.name} chooses among candidates of its own, not among the batch")
    return scene


def _encoders(folder: Path, origins: Mapping[str, Any], stage: StagePlan) -> Encoders:
    """Return the encoders that the finished stage ended with."""
    kept = stage_files.stage_folder(folder, stage.name)
    frozen = {name: stage_files.load(stage_files.resolve(origin, folder)) for name, origin in origins.items()
              if isinstance(origin, str)}  # fmt: skip
    found = Encoders(stage_files.load(kept), frozen, stage.ema)
    for name, encoder in found.ema.items():
        encoder.load_state_dict(stage_files.load(kept / name).state_dict())
    return found


def _say_nothing(sentence: str) -> None:
    """What is shown again has been said when it was trained."""
