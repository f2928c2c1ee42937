"""Whether the runs of a study can have its columns and figures, asked before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

from robustcl.analysis.chosen import find_term
from robustcl.composition.asked import check_attack
from robustcl.composition.plan import RecipePlan
from robustcl.errors import UsageError, near
from robustcl.evaluate.extras.corruptions import choose_corruptions
from robustcl.study import measures, transfer
from robustcl.study.drawings import Anchors, Epochs, Lines, Map, Picture, SilhouetteFigure, WeightLandscapeFigure
from robustcl.study.grammar import Accuracy, AnyColumn, Clusters, Corrupted, Metric, Study, Transferred
from robustcl.study.grid import Planned
from robustcl.study.places import evaluation, stage
from robustcl.train import detection
from robustcl.train.plan import StagePlan, TermPlan


def check(study: Study, planned: Sequence[Planned]) -> None:
    """Refuse a column or a figure that some run of the grid cannot have.

    Raises:
        UsageError: which row lacks what, and what it has.
    """
    for run in planned:
        where = f"the study {study.name}, row {run.label!r}"
        for column in study.columns_of(run.row):
            _check_column(column, run.composition, planned, f"{where}, column {column.name!r}")
        for figure in study.figure:
            if isinstance(figure, Epochs):
                plan = stage(run.composition, figure.stage, f"{where}, figure epochs")
                for metric in figure.metrics:
                    _check_metric(plan, metric, f"{where}, figure epochs")
            elif isinstance(figure, SilhouetteFigure):
                _check_silhouette(run.composition, f"{where}, figure silhouette")
            elif isinstance(figure, Anchors):
                plan = stage(run.composition, figure.stage, f"{where}, figure anchors")
                find_term(plan, figure.term, f"{where}, figure anchors")
            elif isinstance(figure, Picture):
                evaluation(run.composition, None, None, f"{where}, figure {figure.kind}")
                if isinstance(figure, WeightLandscapeFigure | Map) and figure.attack is not None:
                    check_attack(figure.attack, f"{where}, figure {figure.kind}")
            elif isinstance(figure, Lines):
                _check_numbers(study, figure.axis)


def _check_column(column: AnyColumn, composition: RecipePlan, planned: Sequence[Planned], where: str) -> None:
    if isinstance(column, Accuracy):
        plan, _ = evaluation(composition, column.protocol, column.route, where)
        names = [part.name for part in plan.attacks]
        if column.attack == "first" and not names:
            raise UsageError(f"{where}: the recipe evaluates under no attack")
        if column.attack not in (None, "first", *names):
            raise UsageError(
                f"{where}: the recipe is not judged under {column.attack!r}{near(column.attack, names)}; "
                f"it is under {', '.join(names) or 'nothing'}"
            )
    elif isinstance(column, Metric):
        _check_metric(stage(composition, column.stage, where), column.metric, where)
    elif isinstance(column, Clusters):
        if stage(composition, column.stage, where, targets=True).targets is None:
            raise UsageError(f"{where}: the stage {column.stage} clusters nothing")
    elif isinstance(column, Corrupted):
        table = evaluation(composition, column.protocol, column.route, where)[0].table.corruptions
        known = () if table is None else ("mean", *choose_corruptions(table))
        if column.corruption not in known:
            raise UsageError(
                f"{where}: the recipe is not judged on {column.corruption!r}{near(column.corruption, known)}; set "
                "evaluate.PROTOCOL.corruptions"
            )
    elif isinstance(column, Transferred):
        evaluation(composition, column.protocol, column.route, where)
        transfer.check(column, composition, planned, where)
    else:
        measures.check(column, composition, evaluation(composition, column.protocol, column.route, where), where)


def _check_metric(plan: StagePlan, metric: str, where: str) -> None:
    known = ["loss", "lr", "epoch", "seconds"]
    known += [f"term/{term.name}/{name}" for term in plan.terms for name in term.weights]
    sides = [f"{term.name}/{side}{view}" for term in plan.terms if term.selector is not None
             for side in ("positive", "negative") for view in _views(term, plan)]  # fmt: skip
    known += [f"{kind}/{side}" for kind in ("pairs", "pairs-of-epoch") for side in sides]
    # A selector that detects nothing leaves an empty cell, so that it may stand beside those that do.
    known += [name for term in plan.terms if term.selector is not None for name in detection.logged(term.name)]
    if metric not in known:
        raise UsageError(
            f"{where}: stage {plan.name} logs no {metric!r}{near(metric, known)}; it logs {', '.join(known)}"
        )


def _views(term: TermPlan, plan: StagePlan) -> list[str]:
    """Return the ends of names under which pairs are counted: all of them together, and each view where several are."""
    views = list(term.anchors(plan.frozen).values())
    return ["", *(f"/{view}" for view in views if len(views) > 1)]


def _check_silhouette(composition: RecipePlan, where: str) -> None:
    if not any(plan.targets is not None and plan.targets.clusters is None for plan in composition.stages):
        raise UsageError(f'{where}: no stage chooses its clusters; set stage.NAME.targets.clusters = "silhouette"')


def _check_numbers(study: Study, name: str) -> None:
    axis = next(axis for axis in study.axis if axis.name == name)
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in axis.values):
        raise UsageError(f"the study {study.name}: figure lines: the axis {name!r} has values that are no numbers")
