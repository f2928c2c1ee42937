"""From a stage of a recipe to a plan: plugins made, roles bound, weights read. No tensor exists yet."""

from __future__ import annotations

from typing import Any

from robustcl import schedule
from robustcl.composition.parts import Parts
from robustcl.composition.roles import bind, ref_to
from robustcl.errors import UsageError, near
from robustcl.protocols import Need
from robustcl.recipe import Ema, GeneratorTable, Maximise, Stage, Targets, Term, Use
from robustcl.threat import Ball
from robustcl.train.plan import (
    EmaPlan,
    GeneratorPlan,
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
    terms = tuple(_term(name, table, known, stage, parts, f"{where}.term.{name}") for name, table in stage.term.items())
    optimizer = parts.make("optimizer", stage.optimizer, f"{where}.optimizer")
    return StagePlan(
        name=stage.name,
        epochs=stage.epochs,
        batch=stage.batch or batch,
        drop_last=stage.drop_last,
        mode=stage.mode,
        views=views,
        generators=_generators(stage, terms, _early(views, where, written), parts, ball, where),
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
        ema={
            name: EmaPlan(
                origin.of,
                _number(origin.momentum, f"{where}.encoders.{name}.momentum"),
                origin.update == "before-optimiser",
                origin.buffers == "copied",
            )
            for name, origin in stage.encoders.items()
            if isinstance(origin, Ema)
        },
        targets=_targets(stage.targets, parts, f"{where}.targets") if stage.targets else None,
        sampler=_sampler(stage, parts, where),
        labels=None if stage.labels == "data" else int(stage.labels.partition(":")[2]),
        clip=stage.clip,
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


def _term(name: str, table: Term, views: list[str], stage: Stage, parts: Parts, where: str) -> TermPlan:
    objective = parts.make("objective", table, where)
    weight = _number(table.weight, f"{where}.weight")
    terms: tuple[str, ...] = objective.plugin.terms
    for key in table.mix:
        if key not in terms:
            raise UsageError(
                f"{where}.mix: {table.use} has no term {key!r}{near(key, terms)}; its terms are {', '.join(terms)}"
            )
    if table.group is not None and table.group not in stage.groups:
        raise UsageError(f"{where}.group: the stage has no group {table.group!r}; declare it in [stage.groups]")
    selector = None
    if table.selector is not None:
        if Need.PAIRS not in objective.needs:
            raise UsageError(f"{where}.selector: {table.use} reads no pairs, so nothing would read the selector")
        selector = parts.make("selector", table.selector, f"{where}.selector")
    elif Need.PAIRS in objective.needs:
        default: str = getattr(objective.plugin, "selector", "all")
        selector = parts.make("selector", Use(use=default), f"{where}.selector")
    weights = {term: _product(weight, table.mix.get(term, 1.0), f"{where}.mix.{term}") for term in terms}
    roles = bind(objective.plugin.views, table.views, views, stage, where, table.use)
    if table.support and selector is None:
        raise UsageError(f"{where}.support: {table.use} has no selector, so nothing would read the support views")
    support = tuple(ref_to(text, views, stage, f"{where}.support") for text in table.support)
    return TermPlan(name, objective, roles, selector, weights, table.group, support)


def _generators(
    stage: Stage, terms: tuple[TermPlan, ...], drawn: list[str], parts: Parts, ball: Ball, where: str
) -> tuple[GeneratorPlan, ...]:
    plans: list[GeneratorPlan] = []
    there = list(drawn)
    for name, table in stage.generator.items():
        place = f"{where}.generator.{name}"
        writes = tuple(table.writes or [name])
        reads = tuple(table.reads or (drawn if len(drawn) == 1 else []))
        for view in reads:
            if view not in there:
                raise UsageError(f"{place}.reads: there is no view {view!r} yet{near(view, there)}; {', '.join(there)}")
        if not reads or len(reads) != len(writes):
            raise UsageError(
                f"{place}: it writes {', '.join(writes)} but reads {', '.join(reads) or 'nothing'}; "
                f'name one view for each, e.g. reads = ["{there[0] if there else "w"}"]'
            )
        part = parts.make("generator", table, place)
        there += writes
        plans.append(
            GeneratorPlan(
                name=name,
                part=part,
                reads=reads,
                writes=writes,
                mode=table.mode,
                ball=_ball(table, ball, place),
                maximise=_maximised(table, writes, terms, there, stage, parts, place, part.needs),
                constants={
                    key: ref_to(text, there, stage, f"{place}.constants") for key, text in table.constants.items()
                },
            )
        )
    return tuple(plans)


def _maximised(
    table: GeneratorTable,
    writes: tuple[str, ...],
    terms: tuple[TermPlan, ...],
    there: list[str],
    stage: Stage,
    parts: Parts,
    where: str,
    needs: frozenset[Need],
) -> TermPlan | None:
    """Return the term that a borrowing generator maximises: the named one, or the only one that reads its output."""
    if Need.OBJECTIVE not in needs:
        if table.maximise is not None or table.selector is not None:
            raise UsageError(f"{where}.maximise: {table.use} brings its own loss; remove the line")
        return None
    if isinstance(table.maximise, Maximise):
        asked = Term(use=table.maximise.use, views=table.maximise.views, selector=table.maximise.selector,
                     **table.maximise.options)  # fmt: skip
        return _term(f"{where}.maximise", asked, there, stage, parts, f"{where}.maximise")
    reading = [term for term in terms if any(ref.view in writes for _, ref in term.roles)]
    if table.maximise is not None:
        reading = [term for term in terms if term.name == table.maximise]
        if not reading:
            names = [term.name for term in terms]
            raise UsageError(
                f"{where}.maximise: the stage has no term {table.maximise!r}{near(table.maximise, names)}; "
                f"it has {', '.join(names)}"
            )
    if len(reading) != 1:
        found = ", ".join(term.name for term in reading) or "no term"
        raise UsageError(f"{where}: {found} reads {', '.join(writes)}; say which one to maximise: maximise = NAME")
    term = reading[0]
    for _, ref in term.roles:
        if ref.view not in there:
            raise UsageError(f"{where}.maximise: {term.name} reads {ref.view!r}, which is made only after this attack")
    if table.selector is None:
        return term
    selector = parts.make("selector", table.selector, f"{where}.selector")
    return TermPlan(f"{where}.maximise", term.objective, term.roles, selector, term.weights, term.group, term.support)


def _ball(table: GeneratorTable, ball: Ball, where: str) -> Ball:
    own = table.ball
    if own is None:
        return ball
    limits = None if own.unbounded else ball.range
    eps = own.eps if own.eps is not None else ball.eps
    if not isinstance(eps, str | float | int):
        raise UsageError(f"{where}.ball.eps = {eps!r} is not a size")
    try:
        return Ball.checked(own.norm or ball.norm, eps, limits)
    except UsageError as error:
        raise UsageError(f"{where}.ball: {error}") from None


def _targets(table: Targets, parts: Parts, where: str) -> TargetPlan:
    clusters = table.clusters
    every = None
    if table.refresh is not None and table.refresh != "never":
        length = schedule.duration(table.refresh, f"{where}.refresh")
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


def _number(value: Any, where: str) -> Number:
    return schedule.parse(value, where)


def _product(weight: Number, mix: Any, where: str) -> Number:
    other = schedule.parse(mix, where)
    if isinstance(weight, float) and isinstance(other, float):
        return weight * other
    if other == 1.0:
        return weight
    if weight == 1.0:
        return other
    raise UsageError(f"{where}: a scheduled weight and a mix cannot both be given; write the schedule into the mix")
