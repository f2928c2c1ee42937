"""``compose``: flags or a recipe file to a checked composition, which explains itself and trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustcl import inherit, reading, registry
from robustcl.composition import classifier, needs, remarks, store
from robustcl.composition.build import build_stage
from robustcl.composition.choose import Flags, choose
from robustcl.composition.parts import Parts
from robustcl.duration import duration
from robustcl.errors import UsageError, near
from robustcl.evaluate.solo import Solo
from robustcl.nn import weights
from robustcl.nn.projector import Projector
from robustcl.recipe import MAIN_ROUTE, Ema, EncoderTable, Evaluate, Recipe, Stage, Use
from robustcl.threat import Ball
from robustcl.train.encoders import ONLINE
from robustcl.train.log import Watcher, watch_nothing
from robustcl.train.plan import Part, StagePlan

if TYPE_CHECKING:
    from robustcl.composition.run import Run

DEFAULT_BUDGET = "small"


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """One protocol: its training stages per route, and its attacks."""

    table: Evaluate
    protocol: Part
    stages: Mapping[str, tuple[tuple[Stage, StagePlan], ...]]
    attacks: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Composition:
    """A recipe whose plugins are found, whose options are valid and whose needs are met; nothing is trained yet."""

    recipe: Recipe
    tables: Mapping[str, Any]
    how: tuple[str, ...]
    parts: Parts
    dataset: Part
    encoder: Part
    projector: Projector
    ball: Ball
    stages: tuple[StagePlan, ...]
    evaluations: tuple[EvaluationPlan, ...]
    met: Mapping[str, str] = field(default_factory=dict)

    def explain(self) -> str:
        """Return the composition in words: stages, plugins and their origin, who meets which need, BN modes, routes."""
        from robustcl.composition.explain import explain

        return explain(self)

    def lock(self) -> dict[str, Any]:
        """Return the recipe with every default filled in, and each plugin's distribution and version."""
        from robustcl.composition.lock import lock

        return lock(self)

    def train(
        self,
        out: str | Path | None = None,
        *,
        device: str = "auto",
        devices: int = 1,
        precision: str = "32-true",
        watcher: Watcher = watch_nothing,
        say: Callable[[str], None] = lambda sentence: None,
    ) -> Run:
        """Train every stage, evaluate, and keep the run in a new directory.

        Args:
            out: the run directory; by default a new one below ``runs``.
            device: "auto", "cpu", "cuda" or "cuda:1".
            devices: processes that train together.
            precision: "32-true", "bf16-mixed" or "64-true".
            watcher: called with the numbers of each logged step.
            say: called with each sentence for the person who waits.

        Raises:
            UsageError: the directory exists or cannot be written.
            NonFiniteLoss, Interrupted: the run stopped; ``robustcl.resume`` continues it.
        """
        from robustcl.composition.run import start

        return start(self, out, device=device, devices=devices, precision=precision, watcher=watcher, say=say)


def compose(
    *,
    recipe: str | None = None,
    generator: str | None = None,
    objective: str | None = None,
    selector: str | None = None,
    target: str | None = None,
    encoder: str | None = None,
    dataset: str | None = None,
    data_dir: str | None = None,
    budget: str | None = DEFAULT_BUDGET,
    seed: int | None = None,
    overrides: Sequence[str] = (),
) -> Composition:
    """Compose a method from parts, or from a named recipe with some parts replaced.

    ``recipe`` names an installed recipe; otherwise the base recipe of ``objective`` (and ``generator``) is taken.
    ``budget`` is "smoke", "small" or "paper"; ``overrides`` are dotted, ``"stage.robust.generator.steps=10"``.

    Raises:
        UsageError: anything that cannot be composed, in one sentence.
    """
    flags = Flags(recipe, generator, objective, selector, target, encoder, dataset, data_dir, budget, seed, overrides)
    tables, how = choose(flags)
    return from_tables(tables, "the recipe", how)


def from_file(path: Path, overrides: Sequence[str] = (), seed: int | None = None) -> Composition:
    """Compose from a recipe file, a lock included."""
    tables, how = choose(Flags(seed=seed, overrides=overrides), inherit.whole(reading.read(path), str(path)))
    return from_tables(tables, str(path), [f"recipe file {path}", *how])


def from_tables(tables: Mapping[str, Any], where: str, how: Sequence[str] = ()) -> Composition:
    """Compose from a recipe's tables."""
    recipe = reading.parse(tables, where)
    parts = Parts()
    ball = _ball(recipe.threat.norm, recipe.threat.eps, "threat")
    if duration(recipe.run.checkpoint, "run.checkpoint").unit == "fraction":
        raise UsageError(f'run.checkpoint = {recipe.run.checkpoint!r}: write "1 epoch" or "50 steps"')
    dataset = parts.make("dataset", recipe.data, "data")
    table = recipe.encoder or EncoderTable()
    if not table.use:
        recipe = recipe.model_copy(update={"encoder": table.model_copy(update={"use": dataset.plugin.encoder})})
    assert recipe.encoder is not None
    encoder = parts.make("encoder", recipe.encoder, "encoder")
    projector = Projector(
        widths=tuple(recipe.encoder.projector.widths),
        norm=recipe.encoder.projector.norm,
        last_norm=recipe.encoder.projector.last_norm,
    )
    met: dict[str, str] = {}
    plans: list[StagePlan] = []
    for number, stage in enumerate(recipe.stage):
        plan = build_stage(stage, parts, ball, recipe.data.batch)
        plans.append(plan)
        untaught = frozenset(
            part
            for part in ("backbone", "projector", "classifier")
            if classifier.taught_by(recipe.stage[: number + 1], plans, part) is None
        )
        met |= needs.check(stage, plan, untaught=untaught)
        _check_origins(stage, recipe.stage[:number])
    _refuse_twins(recipe.evaluate)
    evaluations = tuple(_evaluation(table, parts, ball, recipe, plans) for table in recipe.evaluate)
    how = [*how, *remarks.unreached(plans)]
    return Composition(
        recipe, dict(tables), tuple(how), parts, dataset, encoder, projector, ball, tuple(plans), evaluations, met
    )


def _check_origins(stage: Stage, earlier: Sequence[Stage]) -> None:
    names = [other.name for other in earlier]
    if stage.name in names:
        raise UsageError(f"two stages are named {stage.name!r}; rename one")
    origins = {"init": stage.init} if stage.init is not None else {}
    if stage.targets is not None and stage.targets.init is not None:
        origins["targets.init"] = stage.targets.init
    origins |= {f"encoders.{name}": origin for name, origin in stage.encoders.items() if isinstance(origin, str)}
    for key, origin in origins.items():
        kind, _, rest = origin.partition(":")
        where = f"stage.{stage.name}.{key} = {origin!r}"
        if kind not in ("stage", "run", "file") or not rest:
            raise UsageError(f'{where}: write "stage:NAME", "run:FOLDER" or "file:FOLDER"')
        name, _, encoder = rest.partition("@")
        if kind == "stage" and name not in names:
            known = ", ".join(names) or "none"
            raise UsageError(f"{where}: no earlier stage is named {name!r}{near(name, names)}; there is {known}")
        if key == "targets.init":
            _check_clusters(stage, earlier[names.index(name)], where)
        if kind == "stage" and encoder:
            _check_encoder(encoder, earlier[names.index(name)], where)
        if kind != "stage" and not Path(name).is_dir():
            raise UsageError(f"{where}: there is no folder {name}")


def _check_clusters(stage: Stage, earlier: Stage, where: str) -> None:
    """Clusters that an earlier stage ended with are as many as it made; another number here would be ignored."""
    assert stage.targets is not None
    if earlier.targets is None:
        raise UsageError(f"{where}: stage {earlier.name} clusters nothing; name a stage that has targets")
    asked, made = stage.targets.clusters, earlier.targets.clusters
    if "clusters" in stage.targets.model_fields_set and _listed(asked) != _listed(made):
        raise UsageError(
            f"stage.{stage.name}.targets.clusters = {asked!r}: the clusters are those of stage {earlier.name}, whose "
            f"number is {made!r}; write the same, or remove init"
        )


def _listed(clusters: int | list[int] | str) -> int | list[int] | str:
    return [clusters] if isinstance(clusters, int) else clusters


def _check_encoder(name: str, stage: Stage, where: str) -> None:
    """Only the online encoder and its followers are kept at the end of a stage."""
    kept = [ONLINE, *(key for key, origin in stage.encoders.items() if isinstance(origin, Ema))]
    if name not in kept:
        raise UsageError(
            f"{where}: stage {stage.name} leaves no encoder {name!r}{near(name, kept)}; it leaves {', '.join(kept)}"
        )


def _ball(norm: str, eps: str | float, where: str) -> Ball:
    try:
        return Ball.checked(norm, eps)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _evaluation(
    table: Evaluate, parts: Parts, ball: Ball, recipe: Recipe, plans: Sequence[StagePlan]
) -> EvaluationPlan:
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
        _ball(ball.norm, eps, f"{where}.curve")
    _check_encoder(table.encoder, recipe.stage[judged], f"{where}.encoder = {table.encoder!r}")
    classifier.check(table, protocol, recipe.stage[: judged + 1], plans[: judged + 1])
    stages = {
        route: tuple(_protocol_stage(entry, parts, ball, recipe, f"{where}({route})")
                     for entry in protocol.plugin.stages(route))
        for route in table.route
    }  # fmt: skip
    attacks = tuple(_attack(attack, parts, f"{where}.attacks") for attack in table.attacks)
    return EvaluationPlan(table, protocol, stages, attacks)


def _refuse_twins(tables: Sequence[Evaluate]) -> None:
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


def _attack(table: Use, parts: Parts, where: str) -> Part:
    """Return an attack by name, or a generator (``pgd``, ``torchattacks:PGD``) as an attack of its own."""
    head = table.use.partition(":")[0]
    if head in registry.names("attack") or head not in registry.names("generator"):
        return parts.make("attack", table, where)
    part = parts.make("generator", table, where)
    return Part(table.use, Solo(name=table.use, generator=part.plugin))


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


def routes_until(plans: Sequence[StagePlan]) -> tuple[str, ...]:
    """Return the batch-norm branches of the online encoder after these stages, the main one first."""
    found = [MAIN_ROUTE]
    for plan in plans:
        found += [*plan.routes.values(), *([plan.targets.route] if plan.targets else [])]
    return tuple(dict.fromkeys(found))
