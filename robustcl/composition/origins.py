"""Which encoders a stage starts from: fresh, from an earlier stage, or from outside; and their classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from robustcl.composition import store
from robustcl.errors import UsageError
from robustcl.nn.encoder import Encoder, build_encoder
from robustcl.recipe import MAIN_ROUTE, Stage
from robustcl.rng import Rng
from robustcl.train.encoders import Encoders
from robustcl.train.plan import StagePlan, routes_until

if TYPE_CHECKING:
    from robustcl.composition.api import Composition
    from robustcl.composition.data import Splits
    from robustcl.composition.stages import Stages


def encoders(run: Stages, stage: Stage, plan: StagePlan, rng: Rng, online: Encoder | None) -> Encoders:
    """Return a stage's encoders: the online one (from ``online`` where that is given), followers, frozen ones."""
    if online is None:
        online = _initial(run, stage, plan)
    needs_classifier = any("logits" in term.layers for term in plan.terms)
    classes = len(run.splits.classes) if plan.labels is None else _pseudo_classes(run, plan)
    if stage.classifier != "keep":
        online.reset_classifier(classes, init=stage.classifier, rng=rng.child("classifier"))
    elif needs_classifier and online.classes == 0:
        online.reset_classifier(classes, init="default", rng=rng.child("classifier"))
    elif needs_classifier and online.classes != classes:
        raise UsageError(
            f"stage.{stage.name}: the classifier has {online.classes} outputs and the labels {classes} classes; "
            'set classifier = "zero" or "default" to start a new one'
        )
    frozen = {
        name: store.load(store.resolve(origin, run.folder))
        for name, origin in stage.encoders.items()
        if isinstance(origin, str)
    }
    return Encoders(online, frozen, plan.ema)


def _pseudo_classes(run: Stages, plan: StagePlan) -> int:
    clusters = plan.targets.clusters if plan.targets is not None else None
    if plan.targets is not None and plan.targets.init is not None:
        clusters = store.clusters(run.folder, plan.targets.init, run.engine.device).chosen
    if clusters is None or plan.labels is None or plan.labels >= len(clusters):
        raise UsageError(
            f"stage.{plan.name}.labels: a classifier of pseudo-labels needs a fixed number of clusters; "
            "set targets.clusters to a number"
        )
    return clusters[plan.labels]


def _initial(run: Stages, stage: Stage, plan: StagePlan) -> Encoder:
    """Return the online encoder that a stage starts from, with all routes that the stage uses."""
    routes = routes_until([plan])
    if stage.init is not None:
        loaded = store.load(store.resolve(stage.init, run.folder))
        if stage.init_route is not None:
            loaded = loaded.rerouted({MAIN_ROUTE: stage.init_route})
        wanted = tuple(dict.fromkeys([*loaded.routes, *routes]))
        main = loaded.routes[0]
        # A branch that the earlier stage never trained starts as a copy of its main one.
        return loaded.rerouted({route: route if route in loaded.routes else main for route in wanted})
    return build_untrained(run.composition, run.splits, routes, Rng(run.composition.recipe.seed, "init", stage.name))


def build_untrained(composition: Composition, splits: Splits, routes: Sequence[str], rng: Rng) -> Encoder:
    """Return the recipe's encoder as a stage without ``init`` starts from it, without a classifier.

    Raises:
        UsageError: its backbone cannot be trained.
    """
    table = composition.recipe.encoder
    assert table is not None
    return build_encoder(
        composition.encoder.plugin,
        name=table.use,
        item=splits.train.item,
        classes=0,
        projector=composition.projector,
        mean=splits.mean,
        std=splits.std,
        routes=routes,
        rng=rng,
    )
