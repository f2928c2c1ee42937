"""What the claims of a study are decided on, out of its finished runs, and under which terms these came about."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robustcl.claims import outcome
from robustcl.claims.cells import Cell
from robustcl.claims.deciding import decide
from robustcl.claims.outcome import ClaimOutcome, Claims
from robustcl.claims.sampling import Numbers
from robustcl.comparison.outcomes import Verdicts
from robustcl.disk import read_json
from robustcl.recipe import Use
from robustcl.study.grammar.columns import Perturbed
from robustcl.study.grammar.spots import shape, show_dataset
from robustcl.study.grammar.study import Study
from robustcl.study.plan.planned import Planned
from robustcl.study.plan.setting import Setting
from robustcl.study.tables.table import StudyLine
from robustcl.study.tables.terms import RowTerms

Runs = Sequence[tuple[Planned, Path]]
"""Finished runs and their folders."""


def decide_all(
    study: Study,
    setting: Setting,
    dataset: str,
    lines: Sequence[StudyLine],
    terms: Sequence[RowTerms],
) -> tuple[ClaimOutcome, ...]:
    """Return what each claim came to. Of a model there is one training, whatever is drawn for its attacks."""
    cells = {Cell(line.label, cell.column): cell for line in lines for cell in line.cells}
    models = {line.label for line in lines if line.row in setting.models}
    readings = {
        cell: {seed: one for seed, one in told.readings.items() if cell.line not in models or seed == 0}
        for cell, told in cells.items()
    }

    def verdicts(cell: Cell, seed: int) -> Verdicts | str:
        known = readings[cell][seed].verdicts
        return f"of {cell.line} in {cell.column} the outcome of each image is not kept" if known is None else known

    numbers = Numbers(
        by_seed={
            cell: {seed: one.value * (100.0 if cells[cell].percent else 1.0) for seed, one in found.items()}
            for cell, found in readings.items()
        },
        verdicts=verdicts,
        budget=setting.budget,
        dataset=dataset,
        percent=frozenset(cell for cell, told in cells.items() if told.percent),
        images={cell: told.n for cell, told in cells.items() if told.n is not None},
        apart=frozenset(cell for cell in cells if cell.column in _chosen(study)),
        others={line.label: str(line.point["on"]) for line in lines if "on" in line.point},
        steps={one.label: int(one.steps) for one in terms},
        paper={cell: told.paper for cell, told in cells.items() if told.paper is not None},
    )
    return decide(study.claim, shape(study), numbers)


def _chosen(study: Study) -> set[str]:
    """Return the columns over images that each model chooses itself: those that it had right before they were moved."""
    return {column.name for row in study.row for column in study.columns_of(row)
            if isinstance(column, Perturbed) and column.value in ("fooled", "drop")}  # fmt: skip


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


def _versions(runs: Runs) -> dict[str, str]:
    told: dict[str, list[str]] = {}
    for file in (folder / "results.json" for _, folder in runs):
        results: Any = read_json(file) if file.is_file() else None
        environment = results.get("environment") if isinstance(results, dict) else None
        for name in ("robustcl", "torch", "device", "precision"):
            if isinstance(environment, dict) and name in environment:
                told.setdefault(name, []).append(str(environment[name]))
    return {name: ", ".join(dict.fromkeys(values)) for name, values in told.items()}
