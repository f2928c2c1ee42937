"""Where the columns of a study find their evaluation and their stage in a composition."""

from __future__ import annotations

from collections.abc import Sequence

from robustcl.composition.plan import EvaluationPlan, RecipePlan
from robustcl.errors import NotMeasured, near
from robustcl.train.plan import StagePlan

JUDGED = "judged"
"""As a route: the branch that a recipe calls its own, or the only one that is judged."""


def evaluation(
    composition: RecipePlan, protocol: str | None, route: str | None, where: str
) -> tuple[EvaluationPlan, str]:
    """Return a composition's evaluation by its protocol and the route to read; the first ones where none is named.

    Raises:
        NotMeasured: the recipe is not judged by the protocol, or not on the route.
    """
    plans = composition.evaluations
    fitting = [plan for plan in plans if protocol in (None, plan.table.use)]
    if not fitting:
        known = [plan.table.use for plan in plans]
        raise NotMeasured(f"{where}: the recipe is not judged by {protocol or 'anything'}{near(protocol, known)}")
    if route is None:
        return fitting[0], fitting[0].table.route[0]
    routes = list(dict.fromkeys(other for plan in fitting for other in plan.table.route))
    route = _own(composition, routes, where) if route == JUDGED else route
    for plan in fitting:
        if route in plan.table.route:
            return plan, route
    raise NotMeasured(f"{where}: the route {route!r} is not judged{near(route, routes)}; {', '.join(routes)} are")


def _own(composition: RecipePlan, routes: Sequence[str], where: str) -> str:
    own = composition.recipe.judged or (routes[0] if len(routes) == 1 else None)
    if own is None:
        raise NotMeasured(
            f"{where}: the recipe is judged on {' and '.join(routes)} and calls none of them its own; name one by "
            "route, or in the recipe by judged"
        )
    return own


def stage(composition: RecipePlan, name: str | None, where: str, *, targets: bool = False) -> StagePlan:
    """Return a stage by its name, or the last one (with targets); raises ``NotMeasured`` where there is none."""
    names = [plan.name for plan in composition.stages]
    if name is None:
        fitting = [plan for plan in composition.stages if not targets or plan.targets is not None]
        if not fitting:
            raise NotMeasured(f"{where}: no stage of the recipe clusters anything")
        return fitting[-1]
    if name not in names:
        raise NotMeasured(f"{where}: the recipe has no stage {name!r}{near(name, names)}; it has {', '.join(names)}")
    return composition.stages[names.index(name)]
