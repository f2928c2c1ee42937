"""A stage that is ready to take steps on noise, of which nothing remains: its plugins are copies of the plan's."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

import torch

from robustcl.composition.plan import RecipePlan
from robustcl.cost.sizes import Sizes
from robustcl.cost.stand_in import NoiseImages
from robustcl.data.labelled import Labelled, choose_labelled
from robustcl.data.subset import Images
from robustcl.nn.encoder import Encoder, build_encoder
from robustcl.nn.projector import Projector
from robustcl.options.duration import Progress
from robustcl.protocols import EncoderPlugin
from robustcl.recipe import Stage
from robustcl.rng import Rng
from robustcl.train.encoders import Encoders
from robustcl.train.log import Log
from robustcl.train.plan import StagePlan, routes_until
from robustcl.train.stage import Keeping, Place, StageState
from robustcl.types import Clustering

Kind = TypeVar("Kind", bound=StageState)


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What is rehearsed: a stage of a recipe, trained or a protocol's, on data of some sizes."""

    composition: RecipePlan
    stage: Stage
    plan: StagePlan
    sizes: Sizes


class Processor:
    """Where a probe runs, in single precision."""

    device: ClassVar[torch.device] = torch.device("cpu")
    dtype: ClassVar[torch.dtype] = torch.float32


def rehearse(asked: Rehearsed, kind: type[Kind], plugin: EncoderPlugin, place: Place, samples: int) -> Kind:
    """Return a stage on so many images of noise, with fresh encoders of a plugin and clusters drawn at random.

    Raises:
        RobustclError: parts that the stage does not bear, such as an encoder without a layer that it reads.
    """
    plan = copy.deepcopy(asked.plan)
    images = _images(asked, plan, samples, place.device)
    encoders = _encoders(asked, plan, plugin)
    # Nothing is written there: a stage that is not run opens no log and keeps no checkpoint.
    keeping, log = Keeping(Path("checkpoints"), "a rehearsal", None), Log(Path(), plan.name)
    run = kind(plan, encoders, images, place, Rng(0, "cost"), keeping, log, _say_nothing)
    if plan.targets is not None:
        run.clusters.clustering = _clustering(plan, encoders.online.features, images.samples, place.device)
    return run


def build(asked: Rehearsed, plan: StagePlan, plugin: EncoderPlugin) -> Encoder:
    """Return a fresh encoder with the routes of a recipe and a stage, without a classifier."""
    head = asked.composition.projector
    if plugin is not asked.composition.encoder.plugin:  # beside a stand-in a narrow head: its widths change no count
        widths = tuple(min(width, _NARROW) for width in head.widths)
        head = Projector(widths=widths, norm=head.norm, last_norm=head.last_norm)
    return build_encoder(
        plugin,
        name="a rehearsal's",
        item=asked.sizes.item,
        classes=0,
        projector=head,
        mean=(0.5,),
        std=(0.25,),
        routes=routes_until([*asked.composition.stages, plan]),
        rng=Rng(0, "cost", "encoder"),
    )


def moment(plan: StagePlan, part: float) -> Progress:
    """Return where a stage stands after a part of it, 0 .. 1."""
    return Progress(round(part * _STEPS), _STEPS, part * plan.epochs, float(plan.epochs))


_STEPS = 1000


def _images(asked: Rehearsed, plan: StagePlan, samples: int, device: torch.device) -> Images:
    sizes = asked.sizes
    images: Images = NoiseImages(samples, sizes.item, sizes.classes, device)
    if plan.labelled is None:
        return images
    known = sizes.samples[asked.stage.split] or plan.labelled
    share = plan.labelled if isinstance(plan.labelled, float) else min(plan.labelled / known, 1.0)
    return Labelled(images, choose_labelled(images.labels, share, Rng(0, "cost", "labelled")))


def _encoders(asked: Rehearsed, plan: StagePlan, plugin: EncoderPlugin) -> Encoders:
    online = build(asked, plan, plugin)
    clusters = _clusters(plan)
    classes = asked.sizes.classes if plan.labels is None or not clusters else clusters[plan.labels]
    online.reset_classifier(classes, init="default", rng=Rng(0, "cost", "classifier"))
    return Encoders(online, {name: build(asked, plan, plugin) for name in plan.frozen}, plan.ema, plan.micro_batch)


def _clustering(plan: StagePlan, features: int, samples: int, device: torch.device) -> Clustering:
    """Return clusters drawn at random, of as many as the stage asks for."""
    counts = _clusters(plan)
    rng = Rng(0, "cost", "clusters")
    centroids = tuple(rng.normal((count, features), device=device) for count in counts)
    assignment = torch.stack([rng.integers(count, (samples,)) for count in counts]).to(device)
    confidence = torch.full_like(assignment, 0.5, dtype=torch.float32)
    return Clustering(centroids, assignment, confidence, (0.0,) * len(counts), {"method": "at random"})


def _clusters(plan: StagePlan) -> tuple[int, ...]:
    """Return how many clusters there are, the fewest where they are chosen, and never more than a few thousand."""
    if plan.targets is None:
        return ()
    return tuple(min(count, _MOST) for count in plan.targets.clusters or (min(plan.targets.grid),))


_NARROW, _MOST = 16, 4096


def _say_nothing(sentence: str) -> None:
    """What a rehearsal says concerns nobody."""
