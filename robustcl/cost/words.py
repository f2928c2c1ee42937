"""A cost as a table and a few sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robustcl.cost.bound import least_hours
from robustcl.cost.estimate import Cost, StageCost, Timed
from robustcl.cost.judging import Judged
from robustcl.data.memory import say_bytes
from robustcl.terminal import align

HEAD = ("epochs", "steps", "images", "passes", "GFLOPs", "memory")
NOTES = (
    "passes: images forward and backward through an encoder, of which a forward alone is a third; GFLOPs are the "
    "encoder's and its projector's",
    "memory: estimated in 32 bits, of weights, gradients, two numbers that an optimiser keeps for each, what the "
    "backward of a batch needs, and the images; without what libraries take for themselves",
)
_GIGA = 1e9


def tell(
    cost: Cost, device: str = "cpu", timed: Mapping[str, Timed] | None = None, judged: Sequence[Judged] = ()
) -> str:
    """Return a recipe's cost in words, a line for each stage; ``timed`` by the stage's name, where it was.

    judged: the attacks, of which the cost holds those that were counted.
    """
    counts = dict.fromkeys(f"{n:,}" for split in ("train", "pretrain") if (n := cost.sizes.samples[split]) is not None)
    images = f"{' and '.join(counts)} images, {cost.sizes.source}" if counts else cost.sizes.source
    rows = [(stage.name, *cells([stage], timed)) for stage in cost.stages]
    rows.append(("in all", *cells(cost.stages, timed)))
    head = ("stage", *HEAD, *(["hours"] if timed is not None else []))
    table = align(head, rows).splitlines()
    lines = [f"cost      on {images}; an encoder of {cost.parameters:,} weights", *(f"  {line}" for line in table)]
    said = [*NOTES, *of_judging(judged), *(how_timed(timed) if timed else []), *warn(cost.stages, device, timed)]
    return "\n".join([*lines, *(f"  {note}" for note in said)])


def of_judging(judged: Sequence[Judged]) -> list[str]:
    """Say how attacks were counted, and which were not."""
    if not judged:
        return []
    left = dict.fromkeys(each.name.partition(": ")[2] for each in judged if each.rates is None)
    without = f"; without {', '.join(left)}, which --time counts" if left else ""
    return [
        f"attacks that judge: at most, as if they fooled no image{without}; curves, audits and what a study measures "
        "beside come on top"
    ]


def cells(stages: Sequence[StageCost], timed: Mapping[str, Timed] | None) -> list[str]:
    """Return one line of numbers for some stages together, without the first word."""
    alone = stages[0] if len(stages) == 1 else None
    epochs = f"{alone.epochs}{f' x {alone.times}' if alone.times > 1 else ''}" if alone and alone.steps != 0 else ""
    line = [epochs, *(_sum(stages, number) for number in ("steps", "images", "passes", "operations"))]
    memory = max((stage.memory for stage in stages), default=0.0)
    line.append(say_bytes(round(memory)) if memory else "")
    if timed is not None:
        hours = [stage.times * timed[stage.name].hours for stage in stages if stage.name in timed]
        line.append(f"{sum(hours):.3g}" if len(hours) == len(stages) else "?")
    return line


def how_timed(timed: Mapping[str, Timed]) -> list[str]:
    """Say how hours were measured."""
    parts = ", ".join(sorted({f"{each.images} of {each.batch}" for each in timed.values()}))
    return [
        f"hours: on {device}, from steps on noise with {parts} images of a batch; reading data, fitting clusters and "
        "keeping checkpoints come on top"
        for device in dict.fromkeys(each.device for each in timed.values())
    ]


def warn(stages: Sequence[StageCost], device: str, timed: Mapping[str, Timed] | None) -> list[str]:
    """Warn of days: of those that were measured, else of those that the fastest products here would take."""
    if timed is not None:
        hours = sum(stage.times * timed[stage.name].hours for stage in stages if stage.name in timed)
        return [f"warning: this is {hours / _DAY:.1f} days on this machine"] if hours >= _DAY else []
    hours = least_hours(sum(stage.times * (stage.operations or 0.0) for stage in stages), device)
    if hours < _DAY:
        return []
    return [
        f"warning: this is {hours / _DAY:.1f} days on this machine at the very least, by the speed of a bare matrix "
        "product here; --time measures"
    ]


_DAY = 24.0
"""Hours of which one is warned."""


def _sum(stages: Sequence[StageCost], number: str) -> str:
    values = [getattr(stage, number) for stage in stages]
    if any(value is None for value in values):
        return "?"
    total = sum(stage.times * value for stage, value in zip(stages, values, strict=True))
    total = total / _GIGA if number == "operations" else total
    return f"{total:,.0f}" if total >= 10 or number != "operations" else f"{total:.2g}"
