"""Where the columns of a study find their evaluation and their stage in a composition."""

from __future__ import annotations

from robustcl.composition.plan import EvaluationPlan, RecipePlan
from robustcl.errors import UsageError, near
from robustcl.train.plan import StagePlan


def evaluation(
    composition: RecipePlan, protocol: str | None, route: str | None, where: str
) -> tuple[EvaluationPlan, str]:
    """Return a composition's evaluation by its protocol and the route to read; the first ones where none is named."""
    plans = composition.evaluations
    fitting = [plan for plan in plans if protocol in (None, plan.table.use)]
    if not fitting:
        known = [plan.table.use for plan in plans]
        raise UsageError(f"{where}: the recipe is not judged by {protocol or 'anything'}{near(protocol, known)}")
    if route is None:
        return fitting[0], fitting[0].table.route[0]
    routes = [other for plan in fitting for other in plan.table.route]
    for plan in fitting:
        if route in plan.table.route:
            return plan, route
    raise UsageError(f"{where}: the route {route!r} is not judged{near(route, routes)}; {', '.join(routes)} are")


def stage(composition: RecipePlan, name: str | None, where: str, *, targets: bool = False) -> StagePlan:
    """Return a stage by its name, or the last one (with targets)."""
    names = [plan.name for plan in composition.stages]
    if name is None:
        fitting = [plan for plan in composition.stages if not targets or plan.targets is not None]
        if not fitting:
            raise UsageError(f"{where}: no stage of the recipe clusters anything")
        return fitting[-1]
    if name not in names:
        raise UsageError(f"{where}: the recipe has no stage {name!r}{near(name, names)}; it has {', '.join(names)}")
    return composition.stages[names.index(name)]
