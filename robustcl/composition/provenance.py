"""Who trained the parts of an encoder; protocols that judge a run's own classifier need one, and one of the labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from robustcl.composition.plan import EvaluationPlan, RecipePlan
from robustcl.errors import UsageError
from robustcl.nn import weights
from robustcl.protocols import Need
from robustcl.recipe import Evaluate, Stage
from robustcl.train import stage_files
from robustcl.train.encoders import ONLINE
from robustcl.train.plan import Part, StagePlan, TermPlan


def check(table: Evaluate, protocol: Part, stages: Sequence[Stage], plans: Sequence[StagePlan]) -> None:
    """Refuse a protocol that needs predictions where the judged stage ends without a trained classifier.

    Args:
        table: the evaluation.
        protocol: its protocol.
        stages: the recipe's stages up to the judged one.
        plans: their plans.

    Raises:
        UsageError: no stage on the way to the judged one has learnt to tell the labels apart.
    """
    if Need.PREDICTIONS not in protocol.needs:
        return
    where = f"evaluate.{table.use}: stage {stages[-1].name} ends without"
    advice = 'take protocol = "slf", which trains one, or add a term that needs predictions, such as cross-entropy'
    origin = taught_by(stages, plans)
    if origin is None or (isinstance(origin, Stage) and origin.labels != "data"):
        what = "a trained classifier" if origin is None else "a classifier of the labels (its own tells clusters apart)"
        raise UsageError(f"{where} {what}; {advice}")
    if isinstance(origin, str) and not _classes(origin):
        raise UsageError(f"{where} a classifier, because {origin} has none; {advice}")


def check_classes(composition: RecipePlan, evaluation: EvaluationPlan, classes: int) -> None:
    """Refuse a classifier from outside that tells other than the data set's classes apart.

    Raises:
        UsageError: it has another number of outputs.
    """
    table, stages = evaluation.table, composition.recipe.stage
    if Need.PREDICTIONS not in evaluation.protocol.needs:
        return
    until = len(stages) if table.stage is None else [stage.name for stage in stages].index(table.stage) + 1
    origin = taught_by(stages[:until], composition.stages[:until])
    if isinstance(origin, str) and _classes(origin) != classes:
        raise UsageError(
            f"evaluate.{table.use}: the classifier of {origin} has {_classes(origin)} outputs, the data set {classes} "
            'classes; take protocol = "slf", which trains a new one'
        )


def taught_by(stages: Sequence[Stage], plans: Sequence[StagePlan], part: str = "classifier") -> Stage | str | None:
    """Return the stage that trained a part of the last one's encoder, or the weights from outside that brought it.

    ``part`` is "classifier", "projector" or "backbone"; None where nobody has trained it.
    """
    stage, plan = stages[-1], plans[-1]
    if _learns(plan, part):
        return stage
    if (part == "classifier" and stage.classifier != "keep") or stage.init is None:
        return None
    if not stage.init.startswith("stage:"):
        return stage.init
    names = [other.name for other in stages[:-1]]
    name = stage.init.partition(":")[2].partition("@")[0]
    if name not in names:
        return None
    earlier = names.index(name) + 1
    return taught_by(stages[:earlier], plans[:earlier], part)


_NEEDS = {
    "classifier": frozenset({Need.PREDICTIONS}),
    "projector": frozenset({Need.PROJECTION}),
    "backbone": frozenset({Need.FEATURES, Need.PROJECTION, Need.PREDICTIONS}),
}
"""Which needs of an objective let its gradient reach a part."""


def _learns(plan: StagePlan, part: str) -> bool:
    """Say whether the stage trains this part of the online encoder."""
    whole = {ONLINE, part, f"{ONLINE}.{part}"}
    trained = not whole.isdisjoint(plan.trainable) and whole.isdisjoint(plan.freeze)
    return trained and plan.epochs > 0 and any(_reads(term, part) for term in plan.terms)


def _reads(term: TermPlan, part: str) -> bool:
    through = not _NEEDS[part].isdisjoint(term.objective.needs) or (part == "backbone" and bool(term.taps))
    return through and any(ref.encoder == ONLINE for _, ref in term.roles)


def _classes(origin: str) -> int:
    return int(weights.read_config(stage_files.resolve(origin, Path()))["classes"])
