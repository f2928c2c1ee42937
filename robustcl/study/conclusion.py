"""What becomes of the finished runs and models of a study: its tables, figures, claims and notes, and their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from robustcl.study import page
from robustcl.study.composed import Composed
from robustcl.study.figures import figure
from robustcl.study.finished import FinishedStudy
from robustcl.study.grammar import spots
from robustcl.study.grammar.spots import Spot
from robustcl.study.ledger import claimed
from robustcl.study.notes import describe_circumstances
from robustcl.study.numbers import choices, columns
from robustcl.study.numbers.reading import Reading
from robustcl.study.plan.planned import Planned
from robustcl.study.runs.cards import RUNS
from robustcl.study.tables import derived, layout, ranking, table, terms
from robustcl.study.tables.table import StudyLine

ModelReadings = Mapping[str, Sequence[Sequence[Reading | None]]]
"""Row -> for each seed, the numbers of its columns."""


def conclude(composed: Composed, folder: Path, failed: Mapping[str, str], found: ModelReadings) -> FinishedStudy:
    """Make tables, figures, claims and notes of what is finished, and write every file of the study.

    ``failed``: folder of a run that is left out -> why. ``found``: the numbers of rows that are models.
    """
    study = composed.study
    every = [(run, folder / RUNS / run.folder) for run in composed.planned if run.folder not in failed]
    done, chosen = choices.choose_all(study, every)
    read = [_line(composed, spot, done, found) for spot in spots.points(study)]
    ranked = ranking.rank(study, derived.fill(study, read))
    data = ", ".join(dict.fromkeys(line.data for line in ranked.lines))
    grids = [layout.make_grid(study, ranked.lines, data, ranked.said)] if study.column else []
    row_terms = terms.sum_up_all(done)
    grids += [terms.make_grid(study, row_terms)] if row_terms else []
    claims = claimed.decide_all(study, composed.setting, composed.dataset.use, ranked.lines, row_terms)
    notes = (*describe_circumstances(composed, folder, ranked, failed), *chosen)
    outcome = FinishedStudy(folder, study, ranked.lines, tuple(grids), notes, failed, row_terms, claims)
    drawings = figure.draw_all(study, ranked.lines, done, data)
    page.write(outcome, drawings)
    claimed.keep(study, composed.setting, composed.dataset, composed.threat, claims, done, row_terms, folder)
    return outcome


def _line(composed: Composed, spot: Spot, done: Sequence[tuple[Planned, Path]], found: ModelReadings) -> StudyLine:
    """Read the numbers of one line, of each seed that is finished."""
    study, setting, name = composed.study, composed.setting, spot.row.name
    mine = [(run, place) for run, place in done if run.label == spot.label]
    beside = study.columns_of(spot.row)
    readings = found.get(name) or [columns.read(beside, run, place, done) for run, place in mine]
    seeds = [run.seed for run, _ in mine] if name not in found else None
    used = spot.other or composed.dataset
    data = table.find_published(study, used)
    planned = setting.seeds if readings else 0
    return table.line(study, spot, readings, data, seeds=seeds, planned=planned,
                      own=table.is_published_of(used, data), alike=_alike(spot, mine))  # fmt: skip


def _alike(spot: Spot, mine: Sequence[tuple[Planned, Path]]) -> tuple[str, str]:
    """Return what the numbers of a line are of, and those on the other data set: images and threat."""
    if not mine:
        return "", ""
    plan = mine[0][0].composition
    ball = f"{plan.ball.norm} {float(plan.ball.eps):g}"
    own = spot.other if spot.other is not None and spot.row.on == "other" else plan.recipe.data
    return f"{spots.show_dataset(own)}, {ball}", f"{spots.show_dataset(spot.other or own)}, {ball}"
