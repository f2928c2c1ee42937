"""Protocols that judge a run's own classifier (they need predictions): is there one, and is it one of the labels?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from robustcl.composition import store
from robustcl.errors import UsageError
from robustcl.nn import weights
from robustcl.protocols import Need
from robustcl.recipe import Evaluate, Stage
from robustcl.train.encoders import ONLINE
from robustcl.train.plan import Part, StagePlan, TermPlan

if TYPE_CHECKING:
    from robustcl.composition.api import Composition, EvaluationPlan


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


def check_classes(composition: Composition, evaluation: EvaluationPlan, classes: int) -> None:
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


def taught_by(stages: Sequence[Stage], plans: Sequence[StagePlan]) -> Stage | str | None:
    """Return the stage that trained the last one's classifier, or the weights from outside that brought it."""
    stage, plan = stages[-1], plans[-1]
    if _learns(plan):
        return stage
    if stage.classifier != "keep" or stage.init is None:
        return None
    if not stage.init.startswith("stage:"):
        return stage.init
    names = [other.name for other in stages[:-1]]
    name = stage.init.partition(":")[2].partition("@")[0]
    if name not in names:
        return None
    earlier = names.index(name) + 1
    return taught_by(stages[:earlier], plans[:earlier])


def _learns(plan: StagePlan) -> bool:
    """Say whether the stage trains the online encoder's classifier."""
    whole = {ONLINE, "classifier", f"{ONLINE}.classifier"}
    trained = not whole.isdisjoint(plan.trainable) and whole.isdisjoint(plan.freeze)
    return trained and plan.epochs > 0 and any(_predicts(term) for term in plan.terms)


def _predicts(term: TermPlan) -> bool:
    return Need.PREDICTIONS in term.objective.needs and any(ref.encoder == ONLINE for _, ref in term.roles)


def _classes(origin: str) -> int:
    return int(weights.read_config(store.resolve(origin, Path()))["classes"])
