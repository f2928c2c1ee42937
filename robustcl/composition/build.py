"""From a stage of a recipe to a plan: plugins made, roles bound, weights read. No tensor exists yet."""

from __future__ import annotations

from robustcl import hooks, options
from robustcl.composition.generators import StageGenerators
from robustcl.composition.parts import Parts
from robustcl.composition.terms import make_term
from robustcl.errors import UsageError, near
from robustcl.hooks import ObjectiveHooks
from robustcl.options import Fraction
from robustcl.options.duration import parse_duration
from robustcl.recipe import Ema, Stage, Targets, Use
from robustcl.threat import Ball
from robustcl.train.plan import (
    EmaPlan,
    Number,
    SamplerPlan,
    StagePlan,
    TargetPlan,
    TermPlan,
    ViewPlan,
)


def build_stage(stage: Stage, parts: Parts, ball: Ball, batch: int, where: str | None = None) -> StagePlan:
    """Return the plan of a stage; ``batch`` is used where the stage sets none.

    Raises:
        UsageError: an unknown plugin, option, view, encoder or role, with its place.
    """
    where = where or f"stage.{stage.name}"
    views = _views(stage, parts, where)
    written = [name for key, table in stage.generator.items() for name in (table.writes or [key])]
    known = [view.name for view in views] + written
    if doubled := [name for name in set(known) if known.count(name) > 1]:
        raise UsageError(f"{where}: the view {doubled[0]!r} is made twice; rename one of the two")
    terms = tuple(
        make_term(name, table, known, stage, parts, f"{where}.term.{name}") for name, table in stage.term.items()
    )
    _refuse_unknown_clusters(stage, terms, where)
    optimizer = parts.make("optimizer", stage.optimizer, f"{where}.optimizer")
    averages = {name: origin for name, origin in stage.encoders.items() if isinstance(origin, Ema)}
    return StagePlan(
        name=stage.name,
        epochs=stage.epochs,
        batch=stage.batch or batch,
        drop_last=stage.drop_last,
        mode=stage.mode,
        views=views,
        generators=StageGenerators(stage, terms, views, parts, ball, where).plans(_early(views, where, written)),
        terms=terms,
        routes=stage.routes,
        encode=stage.encode,
        forward=stage.forward if isinstance(stage.forward, str) else tuple(tuple(g) for g in stage.forward),
        groups={name: tuple(members) for name, members in stage.groups.items()},
        differentiable=frozenset(stage.differentiable),
        optimizer=optimizer,
        lr=optimizer.schedules.get("lr", optimizer.plugin.lr),
        trainable=tuple(stage.trainable),
        freeze=tuple(stage.freeze),
        frozen=tuple(name for name, origin in stage.encoders.items() if isinstance(origin, str)),
        ema={name: _average(origin, f"{where}.encoders.{name}") for name, origin in averages.items()},
        targets=_targets(stage.targets, parts, f"{where}.targets") if stage.targets else None,
        sampler=_sampler(stage, parts, where),
        labels=None if stage.labels == "data" else int(stage.labels.partition(":")[2]),
        clip=stage.clip,
        labelled=stage.labelled,
        micro_batch=stage.micro_batch,
        micro_norm=stage.batch_norm == "micro",
    )


def _early(views: tuple[ViewPlan, ...], where: str, written: list[str]) -> list[str]:
    """Return the views that are there before any attack; the others are made of what a generator writes."""
    early: list[str] = []
    for view in views:
        if view.of is None or view.of in early:
            early.append(view.name)
        elif view.of not in [*written, *(other.name for other in views)]:
            known = [*(other.name for other in views if other is not view), *written]
            raise UsageError(f"{where}.views.{view.name}.of: there is no view {view.of!r}{near(view.of, known)}")
    return early


def _views(stage: Stage, parts: Parts, where: str) -> tuple[ViewPlan, ...]:
    plans = []
    for name, table in stage.views.items():
        part = parts.make("view", table, f"{where}.views.{name}")
        names = [name] if table.count == 1 else [f"{name}{number}" for number in range(1, table.count + 1)]
        plans += [ViewPlan(repeat, part, table.of) for repeat in names]
    return tuple(plans)


def _refuse_unknown_clusters(stage: Stage, terms: tuple[TermPlan, ...], where: str) -> None:
    for term in terms:
        known = hooks.of(term.objective.plugin, ObjectiveHooks).known_clusters
        if known and stage.targets is not None and stage.targets.clusters == "silhouette":
            raise UsageError(
                f'{where}.targets.clusters = "silhouette": {term.objective.name} makes a head for each clustering and '
                "must know their sizes beforehand; write a number or a list, e.g. [2, 10, 50]"
            )


class _Follow:
    """The number with which an average follows; it has an option's bounds, and those of a schedule's ends."""

    def __init__(self, *, momentum: Fraction) -> None:
        self.momentum = momentum


def _average(table: Ema, where: str) -> EmaPlan:
    built = options.build(_Follow, {"momentum": table.momentum}, where)
    momentum: Number = built.schedules.get("momentum", built.instance.momentum)
    return EmaPlan(table.of, momentum, table.update == "before-optimiser", table.buffers == "copied")


def _targets(table: Targets, parts: Parts, where: str) -> TargetPlan:
    clusters = table.clusters
    every = None
    if table.refresh is not None and table.refresh != "never":
        length = parse_duration(table.refresh, f"{where}.refresh")
        if length.unit != "epochs":
            raise UsageError(f'{where}.refresh = {table.refresh!r}: write epochs, e.g. "1 epoch", or "never"')
        every = length.amount
    return TargetPlan(
        part=parts.make("target", table, where),
        view=parts.make("view", Use(use=table.of.view), f"{where}.of.view"),
        encoder=table.of.encoder,
        route=table.of.route,
        layer=table.of.layer,
        clusters=None if isinstance(clusters, str) else tuple(clusters) if isinstance(clusters, list) else (clusters,),
        grid=tuple(table.grid),
        every=every,
        init=table.init,
    )


def _sampler(stage: Stage, parts: Parts, where: str) -> SamplerPlan | None:
    if stage.sampler is None:
        return None
    return SamplerPlan(
        parts.make("sampler", stage.sampler, f"{where}.sampler"), stage.sampler.every, stage.sampler.after
    )
