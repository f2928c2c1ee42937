"""What a composition allows but a person should know: schedules that a stage is too short for, steps too short."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from robustcl import hooks
from robustcl.hooks import GeneratorHooks
from robustcl.options.duration import Duration
from robustcl.options.schedule import Piecewise, Ramp
from robustcl.train.plan import Number, StagePlan


def list_unreached(plans: Sequence[StagePlan]) -> list[str]:
    """Return a sentence for each schedule with a warm-up, or a point, beyond the end of its stage."""
    return [
        f"{where} = {number}: the stage has {plan.epochs} epochs, so {what}"
        for plan in plans
        if plan.epochs > 0
        for where, number in _numbers(plan)
        if (what := _missed(number, plan.epochs))
    ]


def short(plans: Sequence[StagePlan]) -> list[str]:
    """Return a sentence for each generator whose steps, all in one direction, end in the inner half of its ball."""
    found = []
    for plan in plans:
        for generator in plan.generators:
            plugin, scheduled = generator.part.plugin, generator.part.schedules
            own = hooks.of(plugin, GeneratorHooks)
            steps, size = own.steps, own.step_size
            if {"steps", "step_size"} & scheduled.keys() or not isinstance(steps, int) or not isinstance(size, float):
                continue
            eps = float(generator.ball.eps)
            if 0 < 2 * steps * size < eps:
                found.append(
                    f"stage.{plan.name}.generator.{generator.name}: {steps} steps of {size:.4g} go less than half of "
                    f"the way to the border of the ball, {eps:.4g}"
                )
    return found


def _numbers(plan: StagePlan) -> Iterator[tuple[str, Number]]:
    seen: set[int] = set()
    for part in plan.parts():
        if id(part) not in seen:  # a term that is maximised too comes twice
            seen.add(id(part))
            yield from ((f"stage.{plan.name}: {part.name}.{key}", number) for key, number in part.schedules.items())
    for term in plan.terms:
        yield from ((f"stage.{plan.name}.term.{term.name}: {key}", number) for key, number in term.weights.items())
    yield from ((f"stage.{plan.name}.encoders.{name}.momentum", ema.momentum) for name, ema in plan.ema.items())


def _missed(number: Number, epochs: int) -> str:
    number = getattr(number, "schedule", number)  # that of a whole number
    if isinstance(number, Ramp) and _beyond(number.warmup, epochs):
        return "its warm-up does not end"
    if isinstance(number, Piecewise) and any(_beyond(point, epochs) for point in number.points):
        return "its last values are not reached"
    return ""


def _beyond(length: Duration, epochs: int) -> bool:
    """Steps are not compared: how many an epoch has depends on the data."""
    return length.amount > {"epochs": float(epochs), "fraction": 1.0}.get(length.unit, float("inf"))
