"""Hours on this machine, from a few real steps of a stage on noise, with the recipe's own encoder."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

import torch

from robustcl.composition.plan import RecipePlan
from robustcl.cost.estimate import Cost, Timed, rehearsals
from robustcl.cost.judging import Judged
from robustcl.cost.rehearsal import Rehearsed, moment, rehearse
from robustcl.cost.stand_in import NoiseImages
from robustcl.evaluate.classifier import LOGITS, of_encoder
from robustcl.nn.encoder import build_encoder
from robustcl.nn.projector import Projector
from robustcl.recipe import MAIN_ROUTE
from robustcl.rng import Rng
from robustcl.train.engine import Engine
from robustcl.train.loop import StageRun

_FIRST = 8
"""Images of the first step; one of all of a batch may take minutes."""
_ENOUGH = 2.0
"""Seconds after which a step is long enough to be believed."""


def time_stages(
    plan: RecipePlan, cost: Cost, device: str, precision: str, only: Collection[str] | None = None
) -> dict[str, Timed]:
    """Return the hours of every stage whose number of images is known, by its name in the cost; or of some only.

    Raises:
        UsageError: a device that is not there.
    """
    engine = Engine(device, 1, precision)
    names = {stage.name: stage for stage in cost.stages}
    found = {}
    for name, _, asked in rehearsals(plan, cost.sizes):
        stage = names[name]
        if stage.passes is None or stage.images is None or (only is not None and name not in only):
            continue
        seconds, images = _seconds(asked, engine)
        # Refreshes and surveys send images through the encoder beside the steps, and are as slow as these.
        beside = stage.passes / stage.of_steps if stage.of_steps else 1.0
        hours = seconds * stage.images * beside / 3600
        found[name] = Timed(hours, images, asked.plan.batch, str(engine.device))
    return found


def _seconds(asked: Rehearsed, engine: Engine) -> tuple[float, int]:
    """Return the seconds of an image in a step, and how many images the step had."""
    run = rehearse(asked, StageRun, asked.composition.encoder.plugin, engine, asked.plan.batch)
    encoders = run.encoders
    for encoder in (encoders.online, *encoders.ema.values(), *encoders.frozen.values()):
        engine.place(encoder)
    engine.place(run.step)
    optimizer = run.plan.optimizer.plugin.make(run.parameters)
    wrapped, stepper = engine.wrap(run.step, optimizer)

    def take(images: int) -> float:
        rows = torch.arange(images, device=engine.device)
        x = run.images.fetch(rows)
        started = time.monotonic()
        run.learn(wrapped, stepper, rows, x, moment(run.plan, 0.5))
        return time.monotonic() - started

    return _grown(take, run.plan.batch)


def time_judging(
    plan: RecipePlan, cost: Cost, judged: Sequence[Judged], device: str, precision: str
) -> dict[str, Timed]:
    """Return the hours that attacks take on images that nothing fools, by their names."""
    if not judged:
        return {}
    engine, block = Engine(device, 1, precision), max(each.table.block for each in plan.evaluations)
    encoder = build_encoder(
        plan.encoder.plugin, name="judged", item=cost.sizes.item, classes=cost.sizes.classes,
        projector=Projector(widths=()), mean=(0.5,), std=(0.25,), routes=(MAIN_ROUTE,), rng=Rng(0, "cost", "encoder"),
    )  # fmt: skip
    engine.place(encoder)
    classifier = of_encoder(encoder.eval(), MAIN_ROUTE)
    noise = NoiseImages(block, cost.sizes.item, cost.sizes.classes, engine.device)

    def take(images: int, *, back: bool) -> float:
        x = noise.fetch(torch.arange(images)).to(engine.dtype).requires_grad_(back)
        with engine.autocast(), classifier.sparring(x.detach()) as quick, torch.set_grad_enabled(back):
            started = time.monotonic()
            value = quick.embed(x, LOGITS).logits.float().square().sum()
            float(torch.autograd.grad(value, x)[0].sum() if back else value)  # waits for it
            return time.monotonic() - started

    backward, images = _grown(lambda images: take(images, back=True), block)
    forward, _ = _grown(lambda images: take(images, back=False), block)
    return {
        each.name: Timed(
            each.images * (each.rates.inputs * backward + each.rates.forward * forward) / 3600,
            images, block, str(engine.device),
        )
        for each in judged
        if each.rates is not None and each.images
    }  # fmt: skip


def _grown(take: Callable[[int], float], most: int) -> tuple[float, int]:
    """Return the seconds of an image, and of how many images together: of twice as many, until it takes long enough."""
    images = min(_FIRST, most)
    take(images)  # of the first one, memory and kernels are chosen
    seconds = min(take(images), take(images))  # the shorter one: others may work here too
    while seconds < _ENOUGH and images < most:
        images = min(2 * images, most)
        take(images)
        seconds = min(take(images), take(images))
    return seconds / images, images
