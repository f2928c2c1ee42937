"""Every need of a stage is met, and everything that a stage holds is read: checked before a tensor exists."""

from __future__ import annotations

from collections.abc import Iterator

from robustcl import hooks
from robustcl.errors import NeedNotMet, UsageError, near
from robustcl.hooks import GeneratorHooks, ViewHooks
from robustcl.protocols import Need
from robustcl.recipe import Stage
from robustcl.train.encoders import ONLINE
from robustcl.train.plan import Part, StagePlan, TargetPlan, TermPlan


def check(
    stage: Stage, plan: StagePlan, where: str | None = None, *, untaught: frozenset[str] = frozenset()
) -> dict[str, str]:
    """Return, for each need of each plugin, who meets it.

    ``untaught``: the parts of the encoder that neither this stage nor what it starts from has trained.

    Raises:
        NeedNotMet: what is missing, who provides it, and the line to add.
        UsageError: a part that nothing reads.
    """
    where = where or f"stage.{stage.name}"
    met: dict[str, str] = {}
    for place, part in _placed(plan, where):
        for need in sorted(part.needs, key=lambda need: need.name):
            met[f"{place} ({part.name}) needs {need.value}"] = _meet(need, place, part, plan)
    if plan.epochs > 0 and not plan.terms:
        raise UsageError(f"{where}: nothing is learnt without a term; add [stage.term.NAME], or set epochs = 0")
    if plan.epochs > 0 and "optimizer" not in stage.model_fields_set:
        raise UsageError(f'{where}: no optimizer is named; add optimizer = {{ use = "sgd", lr = 0.1 }}')
    _refuse_unread(stage, plan, where)
    for place, part in _placed(plan, where):
        if plan.targets is not None and plan.targets.init is None:  # else as many as the earlier stage chose
            check_clusters(part.plugin, plan.targets, place)
    if "classifier" in untaught:
        _refuse_untaught(plan, where)
    _refuse_frozen_untaught(plan, where, untaught)
    return met


def check_clusters(plugin: object, targets: TargetPlan, place: str) -> None:
    """Ask a plugin, if it has an answer, whether as many clusters as there will be, or may be chosen, suffice.

    Raises:
        UsageError: its answer, with its place.
    """
    fewest = targets.clusters or (min(targets.grid),)
    choice = "" if targets.clusters else f"; the silhouette may choose {fewest[0]}, the least in targets.grid"
    try:
        hooks.of(plugin, GeneratorHooks).check_clusters(fewest)
    except UsageError as error:
        raise UsageError(f"{place}: {error}{choice}") from None


def _refuse_frozen_untaught(plan: StagePlan, where: str, untaught: frozenset[str]) -> None:
    """A part that is kept as it is must have been trained: frozen random weights distort whatever passes them."""
    for name in plan.freeze:
        part = name.removeprefix(f"{ONLINE}.").partition(".")[0]
        if ("backbone" if part == ONLINE else part) in untaught and plan.epochs > 0:
            raise NeedNotMet(
                f"{where}.freeze: {name!r} keeps random weights, because nothing has trained the {part} before; start "
                f'from a stage that has, init = "stage:NAME" ("run:FOLDER", "file:FOLDER"), or take {name!r} out'
            )


def _refuse_untaught(plan: StagePlan, where: str) -> None:
    """Predictions of a classifier that nobody has trained are noise to a selector or an attack."""
    objectives = [term.objective for term in plan.terms]
    readers = [(place, part) for place, part in _placed(plan, where) if part not in objectives]
    readers += [(f"{where}.generator.{g.name}.maximise", g.maximise.objective) for g in plan.generators if g.maximise]
    for place, part in readers:
        if Need.PREDICTIONS in part.needs:
            raise NeedNotMet(
                f"{place}: {part.name} reads {Need.PREDICTIONS.value}, but nothing trains the classifier: add a term "
                'that does, e.g. [stage.term.ce] use = "cross-entropy", or start from a stage that has one'
            )


def _meet(need: Need, place: str, part: Part, plan: StagePlan) -> str:
    if need is Need.TEACHER and "teacher" not in plan.frozen:
        raise NeedNotMet(
            f"{place}: {part.name} needs {need.value}, and the stage has none; "
            'add encoders = { teacher = "stage:NAME" } to the stage (an earlier stage, "run:FOLDER" or "file:FOLDER")'
        )
    if need is Need.CLUSTERS and plan.targets is None:
        raise NeedNotMet(
            f"{place}: {part.name} needs {need.value}, and the stage has none; add --target spherical-kmeans, "
            'or targets = { use = "spherical-kmeans" } to the stage'
        )
    if need is Need.TARGET and not any(hooks.of(view.part.plugin, ViewHooks).makes_target for view in plan.views):
        raise NeedNotMet(f"{place}: {part.name} needs {need.value}, and the stage draws none; bind a pretext view")
    if need is Need.VALUES and part is plan.terms[0].objective:
        raise NeedNotMet(f"{place}: {part.name} needs {need.value}, and none stands before it; write it behind them")
    answers = {
        Need.FEATURES: "the encoder",
        Need.PROJECTION: "the encoder's projector",
        Need.PREDICTIONS: "the encoder's classifier",
        Need.LABELS: "the data set" if plan.labels is None else f"clustering {plan.labels} of the targets",
        Need.INDEX: "the data set",
        Need.TEACHER: "the encoder teacher",
        Need.CLUSTERS: plan.targets.part.name if plan.targets else "",
        Need.PAIRS: f"the selector {_selector(part, plan)}",
        Need.OBJECTIVE: f"the term {_maximised(part, plan)}",
        Need.TARGET: "the views",
        Need.VALUES: "the terms before it",
    }
    return answers[need]


def _placed(plan: StagePlan, where: str) -> Iterator[tuple[str, Part]]:
    for generator in plan.generators:
        yield f"{where}.generator.{generator.name}", generator.part
    for term in plan.terms:
        yield f"{where}.term.{term.name}", term.objective
        if term.selector is not None:
            yield f"{where}.term.{term.name}.selector", term.selector
    if plan.sampler is not None:
        yield f"{where}.sampler", plan.sampler.part


def _selector(part: Part, plan: StagePlan) -> str:
    names = [term.selector.name for term in plan.terms if term.objective is part and term.selector is not None]
    return names[0] if names else "none"


def _maximised(part: Part, plan: StagePlan) -> str:
    names = [g.maximise.name for g in plan.generators if g.part is part and g.maximise is not None]
    return names[0] if names else "none"


def _refuse_unread(stage: Stage, plan: StagePlan, where: str) -> None:
    read = {ref.view for term in plan.terms for ref in term.refs}
    read |= {name for generator in plan.generators for name in generator.reads}
    read |= {ref.view for generator in plan.generators for ref in generator.constants.values()}
    read |= {view.of for view in plan.views if view.of is not None}
    for generator in plan.generators:
        if generator.maximise is not None:
            read |= {ref.view for _, ref in generator.maximise.roles} - set(generator.writes)
    made = [view.name for view in plan.views] + [name for g in plan.generators for name in g.writes]
    for name in made:
        if name not in read:
            raise UsageError(f"{where}: nothing reads the view {name!r}; bind it to a term or remove it")
    for table, names in (("routes", plan.routes), ("encode", plan.encode)):
        for name in names:
            if name not in made:
                raise UsageError(f"{where}.{table}: there is no view {name!r}{near(name, made)}; {', '.join(made)}")
    _refuse_unknown_names(stage, plan, made, where)
    _refuse_unread_encoders(stage, plan, where)
    if plan.targets is not None and plan.labels is None and plan.epochs > 0 and not _anyone_needs(plan, Need.CLUSTERS):
        raise UsageError(f"{where}.targets: nothing reads the clusters of {plan.targets.part.name}; remove the table")
    if plan.labelled is not None and (plan.labels is not None or not _anyone_needs(plan, Need.LABELS)):
        raise UsageError(f"{where}.labelled: nothing reads the data set's labels; remove the line")
    if plan.micro_norm and plan.micro_batch is None:
        raise UsageError(f'{where}.batch_norm = "micro": there are no micro batches; add micro_batch, or remove it')
    if plan.labels is not None and plan.targets is None:
        raise NeedNotMet(f'{where}.labels: labels from targets need targets = {{ use = "spherical-kmeans" }}')
    clusters = plan.targets.clusters if plan.targets is not None else None
    if plan.labels is not None and plan.labels >= len(clusters or (0,)):
        raise UsageError(
            f"{where}.labels: there is no clustering {plan.labels}, the targets make {len(clusters or (0,))}; "
            "count from 0, or add a number to targets.clusters"
        )
    groups = {term.group for term in plan.terms}
    for name in plan.groups:
        if name not in groups:
            raise UsageError(f"{where}.groups.{name}: no term is of this group; remove it, or name it in a term")


def _refuse_unknown_names(stage: Stage, plan: StagePlan, made: list[str], where: str) -> None:
    lists = {"differentiable": list(plan.differentiable)}
    lists |= {f"groups.{name}": list(members) for name, members in plan.groups.items()}
    if not isinstance(plan.forward, str):
        lists["forward"] = [name for names in plan.forward for name in names]
    for key, names in lists.items():
        for name in names:
            if name not in made:
                raise UsageError(f"{where}.{key}: there is no view {name!r}{near(name, made)}; {', '.join(made)}")
            if names.count(name) > 1:
                raise UsageError(f"{where}.{key}: the view {name!r} is named twice; name it once")
    for key, names in (("trainable", stage.trainable), ("freeze", stage.freeze)):
        for name in names:
            part = name.removeprefix(f"{ONLINE}.").partition(".")[0]
            if part not in (known := (ONLINE, "backbone", "projector", "classifier")):
                raise UsageError(f"{where}.{key}: there is no part {name!r}{near(part, known)}; {', '.join(known)}")
    for name, ema in plan.ema.items():
        if ema.of not in (others := [ONLINE, *(other for other in stage.encoders if other != name)]):
            raise UsageError(
                f"{where}.encoders.{name}.of: there is no encoder {ema.of!r}{near(ema.of, others)}; {', '.join(others)}"
            )


def _refuse_unread_encoders(stage: Stage, plan: StagePlan, where: str) -> None:
    seen = {ref.encoder for term in plan.terms for ref in term.refs} | set(plan.encode.values())
    seen |= {ref.encoder for generator in plan.generators for ref in generator.constants.values()}
    if any(Need.TEACHER in generator.part.needs for generator in plan.generators):
        seen.add("teacher")
    if plan.targets is not None:
        seen.add(plan.targets.encoder)
    for name in stage.encoders:
        if name not in seen:
            raise UsageError(f"{where}.encoders: nothing reads the encoder {name!r}; bind a view to it or remove it")
    known = [ONLINE, *stage.encoders]
    for encoder in [*plan.encode.values(), *([plan.targets.encoder] if plan.targets else [])]:
        if encoder not in known:
            raise UsageError(f"{where}: there is no encoder {encoder!r}{near(encoder, known)}; {', '.join(known)}")


def _anyone_needs(plan: StagePlan, need: Need) -> bool:
    terms: list[TermPlan] = [*plan.terms, *(g.maximise for g in plan.generators if g.maximise is not None)]
    parts = [generator.part for generator in plan.generators]
    parts += [plan.sampler.part] if plan.sampler is not None else []
    parts += [part for term in terms for part in (term.objective, term.selector) if part is not None]
    return any(need in part.needs for part in parts)
