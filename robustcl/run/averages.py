"""Averaged encoders that a stage is too short for: what is judged would be, in part, the weights it began with."""

from __future__ import annotations

from robustcl.composition.plan import RecipePlan
from robustcl.options.duration import Progress
from robustcl.options.schedule import Schedule
from robustcl.train.plan import Number, StagePlan, at

_SHARE = 0.1
"""The share of the initial weights from which on an average is remarked on."""


def share_remaining(momentum: Number, steps: int, epochs: int) -> float:
    """Return the share that the weights of the start still have in an average after so many steps: 1 after none."""
    if not isinstance(momentum, Schedule):
        return float(momentum) ** steps
    share = 1.0
    for step in range(steps):
        share *= at(momentum, Progress(step, steps, step / steps * epochs, float(epochs)))
    return share


def stale(plan: StagePlan, encoder: str, steps: int) -> str | None:
    """Return a sentence where more than a tenth of an averaged encoder is what the stage began with; else ``None``."""
    if encoder not in plan.ema or plan.epochs == 0:
        return None
    momentum = plan.ema[encoder].momentum
    share = share_remaining(momentum, steps, plan.epochs)
    if share <= _SHARE:
        return None
    return (
        f"stage.{plan.name}.encoders.{encoder}: {share:.0%} of the judged average are still initial weights after "
        f"{steps} steps with momentum {momentum}: lower its momentum, train longer, or judge the online encoder"
    )


def list_taken(composition: RecipePlan, stage: str) -> list[str]:
    """Return the averaged encoders of a stage that are judged, or that a later stage goes on with."""
    stages = composition.recipe.stage
    plan = next(plan for plan in composition.stages if plan.name == stage)
    last = stages[-1].name
    found = [e.table.encoder for e in composition.evaluations if (e.table.stage or last) == stage]
    origins = [origin for other in stages for origin in (other.init, *other.encoders.values())]
    return [name for name in plan.ema if name in found or f"stage:{stage}@{name}" in origins]
