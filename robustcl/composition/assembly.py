"""From a recipe's tables to its plan: parts are found, options validated, needs held against who meets them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robustcl.composition import judging, lineage, needs, provenance, remarks
from robustcl.composition.build import build_stage
from robustcl.composition.choice import Flags, choose
from robustcl.composition.parts import Parts
from robustcl.composition.plan import RecipePlan
from robustcl.errors import UsageError
from robustcl.nn.projector import Projector
from robustcl.options.duration import parse_duration
from robustcl.recipe import EncoderTable, inherit, reading
from robustcl.registry import owners
from robustcl.threat import ball_of
from robustcl.train.plan import StagePlan


def read_plan(path: Path, flags: Flags | None = None) -> RecipePlan:
    """Return the plan of a recipe file, a lock included, with what flags change; errors as in ``assemble``."""
    tables, how = choose(flags or Flags(), inherit.whole(reading.read(path), str(path)))
    return assemble(tables, str(path), [f"recipe file {path}", *how])


def assemble(tables: Mapping[str, Any], where: str, how: Sequence[str] = ()) -> RecipePlan:
    """Return the plan of a recipe's tables; ``where`` names them in errors, ``how`` says how they came about.

    Raises:
        UsageError: anything that cannot be composed, in one sentence.
    """
    recipe = reading.parse(tables, where)
    parts = Parts(owners.of_lock(recipe.lock))
    ball = ball_of(recipe.threat.norm, recipe.threat.eps, "threat")
    kept = parse_duration(recipe.run.checkpoint, "run.checkpoint")
    if kept.unit == "fraction" or kept.amount <= 0:
        raise UsageError(f'run.checkpoint = {recipe.run.checkpoint!r}: write "1 epoch" or "50 steps"')
    dataset = parts.make("dataset", recipe.data, "data")
    table = recipe.encoder or EncoderTable()
    if not table.use:
        recipe = recipe.model_copy(update={"encoder": table.model_copy(update={"use": dataset.plugin.encoder})})
    assert recipe.encoder is not None
    encoder = parts.make("encoder", recipe.encoder, "encoder")
    projector = Projector(
        widths=tuple(recipe.encoder.projector.widths),
        norm=recipe.encoder.projector.norm,
        last_norm=recipe.encoder.projector.last_norm,
    )
    met: dict[str, str] = {}
    plans: list[StagePlan] = []
    for number, stage in enumerate(recipe.stage):
        plan = build_stage(stage, parts, ball, recipe.data.batch)
        plans.append(plan)
        untaught = frozenset(
            part
            for part in ("backbone", "projector", "classifier")
            if provenance.taught_by(recipe.stage[: number + 1], plans, part) is None
        )
        met |= needs.check(stage, plan, untaught=untaught)
        lineage.check(stage, recipe.stage[:number])
    judging.refuse_twins(recipe.evaluate)
    judging.check_branch(recipe, plans)
    evaluations = tuple(
        judging.evaluation(table, parts, ball, recipe, plans, dataset.plugin) for table in recipe.evaluate
    )
    how = [*how, *remarks.list_unreached(plans), *remarks.short(plans)]
    return RecipePlan(
        recipe, dict(tables), tuple(how), parts, dataset, encoder, projector, ball, tuple(plans), evaluations, met
    )
