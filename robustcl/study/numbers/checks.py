"""Whether the runs of a study can have its columns and figures, asked before anything is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from robustcl.analysis.chosen import find_term
from robustcl.composition.asked import check_attack
from robustcl.composition.plan import RecipePlan
from robustcl.errors import NotMeasured, UsageError, near
from robustcl.evaluate.extras.corruptions import choose_corruptions
from robustcl.study.grammar.columns import (
    COLUMN,
    Accuracy,
    AnyColumn,
    Clusters,
    Corrupted,
    Derived,
    Metric,
    Transferred,
    spread,
)
from robustcl.study.grammar.figures import (
    Anchors,
    Epochs,
    Figure,
    Lines,
    Map,
    Picture,
    SilhouetteFigure,
    WeightLandscapeFigure,
)
from robustcl.study.grammar.study import Study, merge
from robustcl.study.numbers import corrupted, questions, transfer
from robustcl.study.plan.places import evaluation, stage
from robustcl.study.plan.planned import Planned
from robustcl.train import detection
from robustcl.train.plan import StagePlan, TermPlan


def check(study: Study, planned: Sequence[Planned]) -> list[Planned]:
    """Return the runs of a grid, each with the columns and figures that its recipe cannot have.

    Raises:
        NotMeasured: none of them can have one, or a row lacks what it asks for itself: a slip of the pen, then.
        UsageError: a column that can be of no run.
    """
    for figure in study.figure:
        if isinstance(figure, Lines):
            _check_numbers(study, figure.axis)
    found = [dataclasses.replace(run, lacks=_lacks(study, run, planned)) for run in planned]
    for name in found[0].lacks if found else ():
        if all(name in run.lacks for run in found):
            raise NotMeasured(f"{_where(study, found[0], name)}: {found[0].lacks[name]}")
    return found


def say_lacking(planned: Sequence[Planned]) -> list[str]:
    """Return a sentence for each row that lacks something, and why."""
    said: dict[tuple[str, str], list[str]] = {}
    for run in planned:
        for name, why in run.lacks.items():
            names = said.setdefault((run.label, why), [])
            names += [] if name in names else [name]
    return [f"{row} has no {', '.join(names)}: {why}" for (row, why), names in said.items()]


def _where(study: Study, run: Planned, name: str) -> str:
    drawn = {place: figure.kind for place, figure in _places(study)}
    what = f"figure {drawn[name]}" if name in drawn else f"column {name!r}"
    return f"the study {study.name}, row {run.label!r}, {what}"


def _places(study: Study) -> list[tuple[str, Figure]]:
    """Return the figures of a study, by what they are called where a run lacks one."""
    return [(f"figure {number}", figure) for number, figure in enumerate(study.figure, 1)]


def _lacks(study: Study, run: Planned, planned: Sequence[Planned]) -> dict[str, str]:
    """Return what a run cannot have, and why."""
    found: dict[str, str] = {}
    for column in study.column:
        for made in map(COLUMN.validate_python, spread(merge(column, run.row))):
            where = _where(study, run, made.name)
            try:
                _check_column(made, run.composition, planned, where)
            except NotMeasured as error:
                if column.name in run.row.column:
                    raise
                found[made.name] = str(error).removeprefix(f"{where}: ")
    for name, figure in _places(study):
        where = _where(study, run, name)
        try:
            _check_figure(figure, run.composition, where)
        except NotMeasured as error:
            found[name] = str(error).removeprefix(f"{where}: ")
    return found


def _check_figure(figure: Figure, composition: RecipePlan, where: str) -> None:
    if isinstance(figure, Epochs):
        plan = stage(composition, figure.stage, where)
        for metric in figure.metrics:
            _check_metric(plan, metric, where)
    elif isinstance(figure, SilhouetteFigure):
        _check_silhouette(composition, where)
    elif isinstance(figure, Anchors):
        find_term(stage(composition, figure.stage, where), figure.term, where)
    elif isinstance(figure, Picture):
        evaluation(composition, None, None, where)
        if isinstance(figure, WeightLandscapeFigure | Map) and figure.attack is not None:
            check_attack(figure.attack, where)


def _check_column(column: AnyColumn, composition: RecipePlan, planned: Sequence[Planned], where: str) -> None:
    if isinstance(column, Accuracy):
        plan, _ = evaluation(composition, column.protocol, column.route, where)
        names = [part.name for part in plan.attacks]
        if column.attack == "first" and not names:
            raise NotMeasured(f"{where}: the recipe evaluates under no attack")
        if column.attack not in (None, "first", *names):
            raise NotMeasured(
                f"{where}: the recipe is not judged under {column.attack!r}{near(column.attack, names)}; "
                f"it is under {', '.join(names) or 'nothing'}"
            )
    elif isinstance(column, Metric):
        _check_metric(stage(composition, column.stage, where), column.metric, where)
    elif isinstance(column, Clusters):
        if stage(composition, column.stage, where, targets=True).targets is None:
            raise NotMeasured(f"{where}: the stage {column.stage} clusters nothing")
    elif isinstance(column, Corrupted):
        _check_corrupted(column, composition, planned, where)
    elif isinstance(column, Derived):
        return  # of other columns, which are checked
    elif isinstance(column, Transferred):
        evaluation(composition, column.protocol, column.route, where)
        transfer.check(column, composition, planned, where)
    else:
        questions.check(column, composition, evaluation(composition, column.protocol, column.route, where), where)


def _check_corrupted(column: Corrupted, composition: RecipePlan, planned: Sequence[Planned], where: str) -> None:
    """Refuse a corruption that a run is not judged on, and a baseline that is not judged alike."""
    table = evaluation(composition, column.protocol, column.route, where)[0].table.corruptions
    asked = corrupted.check_table(column, table, where)
    if not isinstance(column.baseline, str) or table is None:
        return
    rows = {run.row.name: run for run in planned}
    if column.baseline not in rows:
        others = f"{near(column.baseline, rows)}; there is {', '.join(rows)}"
        raise UsageError(f"{where}.baseline: no row {column.baseline!r} is trained{others}")
    other = rows[column.baseline].composition
    theirs = evaluation(other, column.protocol, column.route, f"{where}.baseline")[0].table.corruptions
    alike = theirs is not None and theirs.severities == table.severities
    if theirs is None or not alike or not set(asked) <= set(choose_corruptions(theirs)):
        raise UsageError(
            f"{where}.baseline: the row {column.baseline!r} is not judged on the same corruptions and severities"
        )


def _check_metric(plan: StagePlan, metric: str, where: str) -> None:
    known = ["loss", "lr", "epoch", "seconds"]
    known += [f"term/{term.name}/{name}" for term in plan.terms for name in term.weights]
    sides = [f"{term.name}/{side}{view}" for term in plan.terms if term.selector is not None
             for side in ("positive", "negative") for view in _views(term, plan)]  # fmt: skip
    known += [f"{kind}/{side}" for kind in ("pairs", "pairs-of-epoch") for side in sides]
    # A selector that detects nothing leaves an empty cell, so that it may stand beside those that do.
    known += [name for term in plan.terms if term.selector is not None for name in detection.logged(term.name)]
    if metric not in known:
        raise NotMeasured(
            f"{where}: stage {plan.name} logs no {metric!r}{near(metric, known)}; it logs {', '.join(known)}"
        )


def _views(term: TermPlan, plan: StagePlan) -> list[str]:
    """Return the ends of names under which pairs are counted: all of them together, and each view where several are."""
    views = list(term.anchors(plan.frozen).values())
    return ["", *(f"/{view}" for view in views if len(views) > 1)]


def _check_silhouette(composition: RecipePlan, where: str) -> None:
    if not any(plan.targets is not None and plan.targets.clusters is None for plan in composition.stages):
        raise NotMeasured(f'{where}: no stage chooses its clusters; set stage.NAME.targets.clusters = "silhouette"')


def _check_numbers(study: Study, name: str) -> None:
    axis = next(axis for axis in study.axis if axis.name == name)
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in axis.values):
        raise UsageError(f"the study {study.name}: figure lines: the axis {name!r} has values that are no numbers")
