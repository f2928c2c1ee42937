"""A composition in words: what is trained on what, by whose plugins, in which batch-norm mode, who meets each need."""

from __future__ import annotations

from collections.abc import Iterator

import tomli_w

from robustcl.composition.lock import lock
from robustcl.composition.plan import EvaluationPlan, RecipePlan
from robustcl.recipe import MAIN_ROUTE, Recipe, Stage
from robustcl.recipe.made import headline
from robustcl.train.encoders import ONLINE
from robustcl.train.plan import Number, StagePlan

_MODES = {
    "eval": "running statistics, none updated",
    "batch": "batch statistics, none updated",
    "train": "batch statistics, running ones polluted at every attack step",
}


def explain(composition: RecipePlan) -> str:
    """Return the whole composition as text, the resolved recipe at its end."""
    return "\n".join(_lines(composition))


def _lines(composition: RecipePlan) -> Iterator[str]:
    recipe = composition.recipe
    yield from headline(recipe.name, recipe.seed, recipe.made)
    yield from (f"  {line}" for line in composition.how)
    yield from _source(recipe)
    yield ""
    held = (
        f"{recipe.data.validation:.4g} of the training images held out" if recipe.data.validation else "none held out"
    )
    yield f"data      {_named(composition, 'dataset', recipe.data.use)}, batch {recipe.data.batch}, {held}"
    assert recipe.encoder is not None
    yield f"encoder   {_named(composition, 'encoder', recipe.encoder.use)}, projector {recipe.encoder.projector.widths}"
    size = float(composition.ball.eps)
    yield f"threat    {composition.ball.norm} eps {recipe.threat.eps} ({size:.6f}), pixels in [0, 1]"
    for stage, plan in zip(recipe.stage, composition.stages, strict=True):
        yield ""
        yield from _stage(composition, stage, plan)
    for evaluation in composition.evaluations:
        attacks = ", ".join(_attacks(composition, evaluation)) or "none"
        yield ""
        yield f"evaluate  {_named(composition, 'protocol', evaluation.protocol.name)}"
        yield f"  routes    {', '.join(evaluation.table.route)}"
        yield f"  attacks   {attacks}"
    yield ""
    yield "needs"
    yield from (f"  {need}: met by {who}" for need, who in composition.met.items())
    yield ""
    yield "resolved recipe"
    yield tomli_w.dumps(lock(composition)).rstrip()


def _source(recipe: Recipe) -> Iterator[str]:
    """Say where the method comes from, and what of the recipe its source does not say.

    What the base recipe of a changed one says of itself stands as the base's.
    """
    base = recipe.made if recipe.made is not None and recipe.made.replaced else None
    said, of = (recipe, "") if base is None else (base, f" of the base {base.recipe}")
    if said.cite:
        yield ""
        yield f"source{of}"
        yield f"  {' '.join(said.cite.split())}"
    if said.deviations:
        yield ""
        yield f"still ours: the known deviations{of}"
        yield from (f"  {line}" for line in said.deviations)


def _stage(composition: RecipePlan, stage: Stage, plan: StagePlan) -> Iterator[str]:
    branch = f", branch {stage.init_route} alone" if stage.init_route else ""
    yield f"stage {stage.name}: {stage.epochs} epochs, batch {plan.batch}, from {stage.init or 'fresh weights'}{branch}"
    for name, origin in stage.encoders.items():
        yield f"  encoder   {name}: {origin}"
    for view in plan.views:
        source = f" of {view.of}" if view.of else ""
        yield f"  view      {view.name}: {_named(composition, 'view', view.part.name)}{source}"
    for generator in plan.generators:
        target = f", maximises {generator.maximise.name}" if generator.maximise is not None else ""
        yield (
            f"  generator {', '.join(generator.reads)} -> {', '.join(generator.writes)}: "
            f"{_named(composition, 'generator', generator.part.name)}{target}"
        )
        yield f"            BN mode {generator.mode}: {_MODES[generator.mode]}"
        if generator.ball is not composition.ball:
            yield f"            own ball: {generator.ball.norm} eps {generator.ball.eps}, range {generator.ball.range}"
    yield from _data(composition, plan)
    for term in plan.terms:
        roles = ", ".join(f"{role}={ref}" for role, ref in term.roles)
        weights = ", ".join(f"{name} x {_number(weight)}" for name, weight in term.weights.items())
        yield f"  term      {term.name}: {_named(composition, 'objective', term.objective.name)} ({roles}); {weights}"
        if term.selector is not None:
            yield f"            selector {_named(composition, 'selector', term.selector.name)}"
    yield f"  routes    {_routes(plan)}; forward {stage.forward}; training BN mode {plan.mode}"
    if plan.micro_batch is not None:
        yield f"  memory    {_micro(plan)}"
    yield f"  optimizer {_named(composition, 'optimizer', plan.optimizer.name)}, lr {_number(plan.lr)}"


def _data(composition: RecipePlan, plan: StagePlan) -> Iterator[str]:
    """Say which images, labels and clusters the stage learns from."""
    if plan.targets is not None:
        targets = plan.targets
        clusters = "K by silhouette" if targets.clusters is None else f"K = {targets.clusters}"
        of = f"{targets.view.name}@{targets.encoder}, route {targets.route}, layer {targets.layer}, {clusters}"
        source = f"those of {targets.init}" if targets.init else f"of {of}"
        who = _named(composition, "target", targets.part.name)
        yield f"  targets   {who} {source}, refresh {_refresh(targets.every)}"
    if plan.labels is not None:
        yield f"  labels    clustering {plan.labels} of the targets, not the data's"
    if plan.labelled is not None:
        share = f"{plan.labelled:.0%}" if isinstance(plan.labelled, float) else plan.labelled
        yield f"  labels    of {share} images, the others are taken to have none"
    if plan.sampler is not None:
        often = f"from epoch {plan.sampler.after} on, every {plan.sampler.every}"
        yield f"  sampler   {_named(composition, 'sampler', plan.sampler.part.name)}, {often}"
    if plan.trainable != (ONLINE,) or plan.freeze:
        yield f"  learns    {', '.join(plan.trainable)}" + (f" but not {', '.join(plan.freeze)}" if plan.freeze else "")


def _attacks(composition: RecipePlan, evaluation: EvaluationPlan) -> Iterator[str]:
    """Yield the attacks of an evaluation, each with the number of images that it is judged on, if that is its own."""
    for number, attack in enumerate(evaluation.attacks):
        own = evaluation.table.attacks[number].samples
        limit = "" if own is None else f" on the first {evaluation.table.first(number)} images"
        yield f"{_named(composition, 'attack', attack.name)}{limit}"


def _named(composition: RecipePlan, kind: str, name: str) -> str:
    origin = composition.parts.origins.get(f"{kind} {name}")
    return f"{name} [{origin}]" if origin else name


def _routes(plan: StagePlan) -> str:
    made = [view.name for view in plan.views] + [name for g in plan.generators for name in g.writes]
    routes = {name: plan.route_of(name, MAIN_ROUTE) for name in made}
    if len(set(routes.values())) == 1:
        return f"one BN branch ({next(iter(routes.values()))})"
    return ", ".join(f"{name} through {route}" for name, route in routes.items())


def _micro(plan: StagePlan) -> str:
    """Say what micro batches do: nothing but take time, or give batch norm other statistics."""
    at_once = f"at most {plan.micro_batch} images at once on each device, embedded once more for their gradient"
    if plan.micro_norm:
        return f"{at_once}; batch statistics are those of at most {plan.micro_batch} images"
    return f"{at_once}; refused where gradients would not be those of the whole batch"


def _refresh(every: float | None) -> str:
    return "never" if every is None else f"every {every:g} epochs"


def _number(number: Number) -> str:
    return f"{number:g}" if isinstance(number, float | int) else str(number)
