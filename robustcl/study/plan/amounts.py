"""How much of what a study makes equal an epoch of each stage takes; no file is opened where sizes are published."""

from __future__ import annotations

import math

from robustcl.composition.plan import RecipePlan
from robustcl.cost import passes
from robustcl.cost.sizes import find_sizes
from robustcl.errors import UsageError
from robustcl.train.plan import StagePlan


def count_per_epoch(unit: str, plan: RecipePlan, where: str) -> dict[str, float]:
    """Return epochs, optimiser steps or passes of an epoch, for each stage that is trained.

    A pass sends every training image forward and backward through an encoder once; a forward alone is a third of it.

    Raises:
        UsageError: a stage whose images are not known before it is trained.
    """
    trained = [stage.name for stage in plan.stages if stage.epochs > 0]
    if unit == "epochs":
        return dict.fromkeys(trained, 1.0)
    if unit == "passes":
        return passes(plan)
    sizes = find_sizes(plan)
    found = {}
    for table, stage in zip(plan.recipe.stage, plan.stages, strict=True):
        if stage.name not in trained:
            continue
        samples = sizes.samples[table.split]
        if stage.sampler is not None:
            raise UsageError(
                f"{where}: stage {stage.name} chooses its images as it goes ({stage.sampler.part.name}), so that its "
                'steps are not known before; take equal = "epochs" or "passes", or leave the row out'
            )
        if samples is None:
            raise UsageError(f'{where}: {sizes.source}; put them there, or take equal = "epochs"')
        found[stage.name] = _steps(stage, samples)
    return found


def _steps(stage: StagePlan, samples: int) -> float:
    return float(max(samples // stage.batch, 1) if stage.drop_last else math.ceil(samples / stage.batch))
