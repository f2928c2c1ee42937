"""What the claims of a study are decided on, out of its finished runs, and under which terms these came about."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robustcl.claims import outcome
from robustcl.claims.cells import Cell
from robustcl.claims.deciding import Numbers, decide
from robustcl.claims.outcome import ClaimOutcome, Claims
from robustcl.comparison.outcomes import Verdicts
from robustcl.disk import read_json
from robustcl.recipe import Use
from robustcl.study import columns
from robustcl.study.grammar import AnyColumn, Study
from robustcl.study.grid import Planned
from robustcl.study.reading import Reading
from robustcl.study.rows import Setting
from robustcl.study.spots import shape, show_dataset
from robustcl.study.table import StudyLine
from robustcl.study.terms import RowTerms

Runs = Sequence[tuple[Planned, Path]]
"""Finished runs and their folders."""
BySeed = Mapping[str, Mapping[int, Sequence[Reading | None]]]
"""Label of a line -> seed -> the numbers of its columns."""


def decide_all(
    study: Study,
    setting: Setting,
    dataset: str,
    lines: Sequence[StudyLine],
    found: BySeed,
    runs: Runs,
    terms: Sequence[RowTerms],
) -> tuple[ClaimOutcome, ...]:
    """Return what each claim came to; ``found`` holds what every finished run, or model, gave for each line."""
    cells = {Cell(line.label, cell.column): cell for line in lines for cell in line.cells}
    units = {cell: 100.0 if told.percent else 1.0 for cell, told in cells.items()}
    places = {(run.label, run.seed): (run, folder) for run, folder in runs}

    @functools.cache
    def verdicts(cell: Cell, seed: int) -> Verdicts | str:
        if (cell.line, seed) not in places:
            return f"{cell.line} is a model, of which no journal is kept"
        run, folder = places[cell.line, seed]
        return columns.verdicts(_column(study, run, cell.column), run, folder)

    numbers = Numbers(
        by_seed=_by_cell(lines, found, units),
        verdicts=verdicts,
        budget=setting.budget,
        dataset=dataset,
        percent=frozenset(cell for cell, unit in units.items() if unit == 100.0),
        images={cell: told.n for cell, told in cells.items() if told.n is not None},
        steps={one.label: int(one.steps) for one in terms},
        paper={cell: told.paper for cell, told in cells.items() if told.paper is not None},
    )
    return decide(study.claim, shape(study), numbers)


def keep(
    study: Study,
    setting: Setting,
    dataset: Use,
    threat: str,
    found: Sequence[ClaimOutcome],
    runs: Runs,
    terms: Sequence[RowTerms],
    folder: Path,
) -> None:
    """Write claims.json; nothing where the study claims nothing."""
    if not found:
        return
    told = Claims(
        version=outcome.SCHEMA,
        study=study.name,
        cite=study.cite,
        dataset=dataset.use,
        data=show_dataset(dataset),
        budget=setting.budget,
        seeds=setting.seeds,
        samples=setting.samples,
        threat=threat,
        changed=list(setting.overrides),
        equal=study.equal or "",
        optimizer=study.optimizer,
        terms=[dataclasses.asdict(one) for one in terms],
        versions=_versions(runs),
        claims=list(found),
    )
    outcome.write(told, folder / outcome.FILE)


def _by_cell(
    lines: Sequence[StudyLine], found: BySeed, units: Mapping[Cell, float]
) -> Mapping[Cell, Mapping[int, float]]:
    numbers: dict[Cell, dict[int, float]] = {}
    for line in lines:
        for place, told in enumerate(line.cells):
            cell = Cell(line.label, told.column)
            by_seed = {seed: readings[place] for seed, readings in found.get(line.label, {}).items()}
            numbers[cell] = {seed: one.value * units[cell] for seed, one in by_seed.items() if one is not None}
    return numbers


def _column(study: Study, run: Planned, name: str) -> AnyColumn:
    return next(column for column in study.columns_of(run.row) if column.name == name)


def _versions(runs: Runs) -> dict[str, str]:
    told: dict[str, list[str]] = {}
    for file in (folder / "results.json" for _, folder in runs):
        results: Any = read_json(file) if file.is_file() else None
        environment = results.get("environment") if isinstance(results, dict) else None
        for name in ("robustcl", "torch", "device", "precision"):
            if isinstance(environment, dict) and name in environment:
                told.setdefault(name, []).append(str(environment[name]))
    return {name: ", ".join(dict.fromkeys(values)) for name, values in told.items()}
