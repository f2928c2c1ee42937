"""From a term of a recipe to its plan: the objective, its roles bound to views, its selector, its weights."""

from __future__ import annotations

from typing import Any

from robustcl import hooks
from robustcl.composition.parts import Parts
from robustcl.composition.roles import bind, ref_to
from robustcl.errors import UsageError, near
from robustcl.hooks import ObjectiveHooks
from robustcl.options import schedule
from robustcl.protocols import Need
from robustcl.recipe import Stage, Term, Use
from robustcl.train.plan import Number, Ref, TermPlan


def make_term(name: str, table: Term, views: list[str], stage: Stage, parts: Parts, where: str) -> TermPlan:
    """Return the plan of a term that may read ``views``; ``where`` is its place in the recipe."""
    objective = parts.make("objective", table, where)
    weight = number(table.weight, f"{where}.weight")
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
        default = hooks.of(objective.plugin, ObjectiveHooks).selector
        selector = parts.make("selector", Use(use=default), f"{where}.selector")
    weights = {term: _product(weight, table.mix.get(term, 1.0), f"{where}.mix.{term}") for term in terms}
    roles = bind(objective.plugin.views, table.views, views, stage, where, table.use)
    if selector is not None:
        _refuse_twins([ref for _, ref in roles], where, table.use)
    if table.support and selector is None:
        raise UsageError(f"{where}.support: {table.use} has no selector, so nothing would read the support views")
    support = tuple(ref_to(text, views, stage, f"{where}.support") for text in table.support)
    return TermPlan(name, objective, roles, selector, weights, table.group, support)


def _refuse_twins(refs: list[Ref], where: str, use: str) -> None:
    """The same embedding twice is its own positive, at no distance."""
    for ref in refs:
        if refs.count(ref) > 1:
            raise UsageError(
                f"{where}.views: {use} compares views of an image, and {ref.view!r} is named twice; draw a second "
                'view, e.g. views = { a = "strong", b = "strong" }, or count = 2'
            )


def number(value: Any, where: str) -> Number:
    """Return a number, or the schedule that a table stands for."""
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
