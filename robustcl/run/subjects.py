"""The classifiers of a run: each protocol's own stages, trained on a copy of the encoder that it judges."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from robustcl import ranks
from robustcl.composition.identities import settings_of
from robustcl.composition.plan import EvaluationPlan, RecipePlan
from robustcl.evaluate import head
from robustcl.evaluate.classifier import of_encoder
from robustcl.evaluate.journal import model_hash
from robustcl.evaluate.judge import Judge
from robustcl.evaluate.question import Question
from robustcl.evaluate.subject import Subject
from robustcl.nn.encoder import Encoder
from robustcl.recipe import Evaluate
from robustcl.rng import Rng
from robustcl.run import averages
from robustcl.run.splits import Splits
from robustcl.run.stages import Stages
from robustcl.train import stage_files
from robustcl.train.engine import Engine
from robustcl.train.falling import still_falling


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RunSubject(Subject):
    """A classifier of a run, as its evaluation judges it: on one route, in the ball of the run's plan.

    plan: the run's, with the ball that is meant. evaluation: by which protocol, of which encoder. encoder: with what
    the protocol has made of it.
    """

    folder: Path
    plan: RecipePlan
    evaluation: EvaluationPlan
    encoder: Encoder
    splits: Splits
    engine: Engine

    @property
    def classes(self) -> int:
        """How many classes the classifier tells apart."""
        return self.encoder.classes


def prepare(run: Stages, evaluation: EvaluationPlan, route: str) -> RunSubject:
    """Return the classifier of an evaluation on a route; its protocol's stages are trained where nobody has so far."""
    plan, splits, table = run.composition, run.splits, evaluation.table
    encoder = _prepared(run, evaluation, route)
    images = {"test": splits.test, "validation": splits.validation}
    there = {split: found for split, found in images.items() if found is not None}
    spec = {
        "protocol": plan.parts.resolved(table), "identity": evaluation.identity.hash, "stage": table.stage or "",
        "encoder": table.encoder, "model": model_hash(encoder.state_dict()),
    }  # fmt: skip
    attacks = [(part.name, plan.parts.resolved(attack))
               for part, attack in zip(evaluation.attacks, table.attacks, strict=True)]  # fmt: skip
    seed, engine = plan.recipe.seed, run.engine
    version, digest = evaluation.identity
    return RunSubject(
        judge=Judge(of_encoder(encoder, route), plan.ball, Rng(seed, "evaluate", table.use, route), engine.autocast),
        asked=table, attacks=evaluation.attacks, question=Question(table.use, route, spec, there, attacks),
        images=there, outputs=len(splits.classes), data=plan.recipe.data.use, dataset=plan.dataset.plugin, seed=seed,
        about={"protocol_version": version, "protocol_hash": digest, "seed": seed, "precision": engine.precision},
        folder=run.folder, plan=plan, evaluation=evaluation, encoder=encoder, splits=splits, engine=engine,
    )  # fmt: skip


def lacks(run: Stages, evaluation: EvaluationPlan, route: str) -> bool:
    """Say whether a protocol has stages that nobody has trained so far."""
    names = _names(run.composition, evaluation, route)
    return any(stage_files.facts(run.folder, name) is None for name in names)


def weights_of(table: Evaluate, plan: RecipePlan, folder: Path) -> Path:
    """Return the folder of the weights that an evaluation judges."""
    return stage_files.resolve(f"stage:{_judged(table, plan)}", folder)


def tell(run: Stages, subject: RunSubject) -> dict[str, Any]:
    """Say how the classifier was come by and what to know of it; returns the same for its rows."""
    classifier = subject.encoder.classifier
    remarks = [*getattr(classifier, "remarks", ()), *_short(run, subject), *_stale(subject)]
    outcome = getattr(classifier, "outcome", None)
    if outcome:
        numbers = {name: f"{v:.4g}" if isinstance(v, float) else v for name, v in outcome.items() if name != "grid"}
        told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in numbers.items())
        run.say(f"{subject.name}: {told}")
    for remark in remarks:
        run.say(f"{subject.name}: {remark}")
    return ({"fit": dict(outcome)} if outcome else {}) | ({"remarks": remarks} if remarks else {})


def _prepared(run: Stages, plan: EvaluationPlan, route: str) -> Encoder:
    """Run the protocol's stages on a copy of the judged encoder."""
    encoder = stage_files.load(weights_of(plan.table, run.composition, run.folder))
    for name, (stage, stage_plan) in zip(_names(run.composition, plan, route), plan.stages[route], strict=True):
        settings = settings_of(stage)
        if ranks.by_first(partial(stage_files.facts, run.folder, name)) is not None:
            ranks.by_first(partial(stage_files.require_settings, run.folder, name, settings))
            encoder = stage_files.load(stage_files.stage_folder(run.folder, name))
            continue
        run.say(f"evaluate {plan.table.use} on route {route}: {stage.epochs} epochs")
        named = replace(stage_plan, name=name)
        encoder = run.train(stage, named, name=name, online=encoder, settings=settings)
    run.engine.place(encoder)
    head.put(
        encoder, route, plan.protocol.plugin, run.splits.train, len(run.splits.classes),
        validation=run.splits.validation, rng=Rng(run.composition.recipe.seed, "head"),
    )  # fmt: skip
    return encoder


def _judged(table: Evaluate, plan: RecipePlan) -> str:
    """Return the stage and, where it is another than the online one, the encoder that an evaluation judges."""
    return (table.stage or plan.stages[-1].name) + ("" if table.encoder == "online" else f"@{table.encoder}")


def _names(plan: RecipePlan, evaluation: EvaluationPlan, route: str) -> list[str]:
    name = f"evaluate-{evaluation.table.use}-{route}-{_judged(evaluation.table, plan)}"
    return [name + (f"-{number}" if number else "") for number in range(len(evaluation.stages[route]))]


def _short(run: Stages, subject: RunSubject) -> list[str]:
    """Return a sentence where the objective of the protocol's last stage was still falling at its end."""
    names = _names(subject.plan, subject.evaluation, subject.route)
    if not names:
        return []
    curve = (stage_files.facts(run.folder, names[-1]) or {}).get("objective")  # earlier runs kept none
    said = still_falling(**curve) if curve and curve["first"] is not None else None
    advice = "the figure measures the schedule, too; --protocol linear fits the classifier to its optimum"
    return [f"{said}; {advice}"] if said else []


def _stale(subject: RunSubject) -> list[str]:
    """Return a sentence where the judged encoder is an average that is, in part, what its stage began with."""
    judged = subject.asked.stage or subject.plan.stages[-1].name
    stage = next(stage for stage in subject.plan.stages if stage.name == judged)
    steps = (stage_files.facts(subject.folder, judged) or {}).get("steps")
    said = averages.stale(stage, subject.asked.encoder, steps) if isinstance(steps, int) else None
    return [said] if said else []
