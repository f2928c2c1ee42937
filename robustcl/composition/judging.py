"""From ``[[evaluate]]`` to a plan: a protocol's own stages for each route, and the attacks on what they prepare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robustcl.composition import lineage, needs, provenance
from robustcl.composition.asked import attack_of
from robustcl.composition.build import build_stage
from robustcl.composition.identities import identify
from robustcl.composition.parts import Parts
from robustcl.composition.plan import EvaluationPlan
from robustcl.errors import UsageError, near
from robustcl.evaluate.extras import EXTRAS, AskedEvaluation
from robustcl.nn import weights
from robustcl.protocols import DatasetPlugin
from robustcl.recipe import Evaluate, Recipe, Stage, reading
from robustcl.threat import Ball
from robustcl.train import stage_files
from robustcl.train.plan import StagePlan, routes_until


def evaluation(
    table: Evaluate, parts: Parts, ball: Ball, recipe: Recipe, plans: Sequence[StagePlan], dataset: DatasetPlugin
) -> EvaluationPlan:
    """Return the plan of one evaluation.

    Raises:
        UsageError: a stage, route or encoder that is not there, a classifier that the protocol needs, or a schedule.
    """
    where = f"evaluate.{table.use}"
    protocol = parts.make("protocol", table, where)
    if protocol.schedules:
        option = min(protocol.schedules)
        raise UsageError(f"{where}.{option}: a protocol has no steps of its own to schedule by; give one number")
    names = [plan.name for plan in plans]
    if table.stage is not None and table.stage not in names:
        raise UsageError(f"{where}.stage: no stage is named {table.stage!r}{near(table.stage, names)}")
    judged = names.index(table.stage) if table.stage is not None else len(names) - 1
    routes = _routes(recipe.stage[: judged + 1], plans[: judged + 1])
    for route in table.route:
        if route not in routes:
            raise UsageError(f"{where}.route: the encoder has no route {route!r}; it has {', '.join(routes)}")
    lineage.check_encoder(table.encoder, recipe.stage[judged], f"{where}.encoder = {table.encoder!r}")
    provenance.check(table, protocol, recipe.stage[: judged + 1], plans[: judged + 1])
    stages = {
        route: tuple(_protocol_stage(entry, parts, ball, recipe, f"{where}({route})")
                     for entry in protocol.plugin.stages(route))
        for route in table.route
    }  # fmt: skip
    for plan in (plan for pairs in stages.values() for _, plan in pairs):
        _refuse_unknown_routes(plan, routes, f"{where}.{plan.name}")
    attacks = tuple(attack_of(attack, parts, f"{where}.attacks") for attack in table.attacks)
    for extra in EXTRAS:
        if extra.key and getattr(table, extra.key) is not None:
            extra.check(AskedEvaluation(table, attacks, ball, dataset, where))
    return EvaluationPlan(table, protocol, stages, attacks, identify(protocol, ball, recipe, where))


def check_branch(recipe: Recipe, plans: Sequence[StagePlan]) -> None:
    """Refuse a judged branch that the encoder does not have."""
    if recipe.judged is None:
        return
    routes = _routes(recipe.stage, plans)
    if recipe.judged not in routes:
        raise UsageError(
            f"judged: the encoder has no route {recipe.judged!r}{near(recipe.judged, routes)}; it has "
            f"{', '.join(routes)}: name one of them, or leave the key out"
        )


def refuse_twins(tables: Sequence[Evaluate]) -> None:
    """Two tables of one protocol, stage, encoder and route would judge one classifier under two settings."""
    seen: set[tuple[str | None, ...]] = set()
    for table in tables:
        for route in table.route:
            question = (table.use, table.stage, table.encoder, route)
            if question in seen:
                raise UsageError(
                    f"evaluate.{table.use}: route {route} is judged twice; put all attacks into one [[evaluate]] table"
                )
            seen.add(question)


def _protocol_stage(
    entry: Mapping[str, Any], parts: Parts, ball: Ball, recipe: Recipe, where: str
) -> tuple[Stage, StagePlan]:
    stage = reading.parse({"name": "protocol", "stage": [entry]}, where).stage[0]
    plan = build_stage(stage, parts, ball, recipe.data.batch, where)
    needs.check(stage, plan, where)
    return stage, plan


def _refuse_unknown_routes(plan: StagePlan, routes: Sequence[str], where: str) -> None:
    """A branch that pre-training did not leave would have to be made up."""
    for view, route in plan.routes.items():
        if route not in routes:
            known = ", ".join(routes)
            raise UsageError(f"{where}: the view {view!r} takes the route {route!r}, and the encoder has {known}")


def _routes(stages: Sequence[Stage], plans: Sequence[StagePlan]) -> tuple[str, ...]:
    """Return the branches of the online encoder after these stages."""
    return tuple(dict.fromkeys([*routes_until(plans), *_outside_routes(stages)]))


def _outside_routes(stages: Sequence[Stage]) -> list[str]:
    """Return the branches that weights from outside bring along."""
    outside = [stage.init for stage in stages if stage.init is not None and not stage.init.startswith("stage:")]
    return [route for origin in outside for route in weights.read_config(stage_files.resolve(origin, Path()))["routes"]]
