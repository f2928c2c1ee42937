"""From ``[[evaluate]]`` to a plan: a protocol's own stages for each route, and the attacks on what they prepare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustcl import reading, registry
from robustcl.composition import classifier, lineage, needs, store
from robustcl.composition.build import build_stage
from robustcl.composition.parts import Parts
from robustcl.errors import UsageError, near
from robustcl.evaluate.solo import Solo
from robustcl.nn import weights
from robustcl.recipe import Evaluate, Recipe, Stage, Use
from robustcl.threat import Ball
from robustcl.train.plan import Part, StagePlan, routes_until


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """One protocol: its training stages per route, and its attacks."""

    table: Evaluate
    protocol: Part
    stages: Mapping[str, tuple[tuple[Stage, StagePlan], ...]]
    attacks: tuple[Part, ...]


def evaluation(table: Evaluate, parts: Parts, ball: Ball, recipe: Recipe, plans: Sequence[StagePlan]) -> EvaluationPlan:
    """Return the plan of one evaluation.

    Raises:
        UsageError: a stage, route or encoder that is not there, or a classifier that the protocol needs.
    """
    where = f"evaluate.{table.use}"
    protocol = parts.make("protocol", table, where)
    names = [plan.name for plan in plans]
    if table.stage is not None and table.stage not in names:
        raise UsageError(f"{where}.stage: no stage is named {table.stage!r}{near(table.stage, names)}")
    judged = names.index(table.stage) if table.stage is not None else len(names) - 1
    routes = tuple(dict.fromkeys([*routes_until(plans[: judged + 1]), *_outside_routes(recipe.stage[: judged + 1])]))
    for route in table.route:
        if route not in routes:
            raise UsageError(f"{where}.route: the encoder has no route {route!r}; it has {', '.join(routes)}")
    for eps in table.curve:
        ball_of(ball.norm, eps, f"{where}.curve")
    lineage.check_encoder(table.encoder, recipe.stage[judged], f"{where}.encoder = {table.encoder!r}")
    classifier.check(table, protocol, recipe.stage[: judged + 1], plans[: judged + 1])
    stages = {
        route: tuple(_protocol_stage(entry, parts, ball, recipe, f"{where}({route})")
                     for entry in protocol.plugin.stages(route))
        for route in table.route
    }  # fmt: skip
    attacks = tuple(attack_of(attack, parts, f"{where}.attacks") for attack in table.attacks)
    return EvaluationPlan(table, protocol, stages, attacks)


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


def attack_of(table: Use, parts: Parts, where: str) -> Part:
    """Return an attack by name, or a generator (``pgd``, ``torchattacks:PGD``) as an attack of its own."""
    head = table.use.partition(":")[0]
    if head in registry.names("attack") or head not in registry.names("generator"):
        return parts.make("attack", table, where)
    part = parts.make("generator", table, where)
    return Part(table.use, Solo(name=table.use, generator=part.plugin))


def ball_of(norm: str, eps: str | float, where: str) -> Ball:
    """Return a threat's ball; ``where`` is its place in errors."""
    try:
        return Ball.checked(norm, eps)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _protocol_stage(
    entry: Mapping[str, Any], parts: Parts, ball: Ball, recipe: Recipe, where: str
) -> tuple[Stage, StagePlan]:
    stage = reading.parse({"name": "protocol", "stage": [entry]}, where).stage[0]
    plan = build_stage(stage, parts, ball, recipe.data.batch, where)
    needs.check(stage, plan, where)
    return stage, plan


def _outside_routes(stages: Sequence[Stage]) -> list[str]:
    """Return the branches that weights from outside bring along."""
    outside = [stage.init for stage in stages if stage.init is not None and not stage.init.startswith("stage:")]
    return [route for origin in outside for route in weights.read_config(store.resolve(origin, Path()))["routes"]]
