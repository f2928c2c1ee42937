"""Every combination of parts is composed or refused in a sentence, and what composes in pairs trains a finite step."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import tiny
import torch
from forks import fork
from one_step import TINY, step_of

from robustcl.composition import compose, matrix

PAIRS = matrix.pairs()
COMPOSED = [cell for cells in PAIRS.values() for cell in cells if cell.refused is None]
REASON = re.compile(
    r" needs .*(add|write|bind)|nothing in \S+ reads pairs|nothing reads the clusters|cannot run here: "
    r"|reads .* but nothing trains|brings its own loss|which is not bound.*add constants"
)
"""An unmet need and what meets it, or a part that nothing reads."""


@pytest.mark.parametrize("objective", matrix.names("objective"))
def test_every_combination_is_composed_or_refused_in_a_sentence(objective: str) -> None:
    combinations = list(matrix.everything(
        matrix.names("generator"), [objective], matrix.names("selector"), matrix.names("target")
    ))  # fmt: skip
    assert len(combinations) >= len(matrix.names("generator"))
    assert any(cell.refused is None for cell in combinations), "something composes with it"
    for cell in combinations:
        if cell.refused is not None:
            assert "\n" not in cell.refused, cell.command
            assert REASON.search(cell.refused), f"{cell.command}: {cell.refused}"


@pytest.mark.parametrize("cell", COMPOSED, ids=[cell.command.removeprefix("robustcl compose ") for cell in COMPOSED])
def test_what_composes_trains_a_finite_step(cell: matrix.Combination) -> None:
    overrides = [*TINY, "encoder.projector.widths=[8, 4]"]
    composition = compose(
        generator=cell.generator, objective=cell.objective, selector=cell.selector, target=cell.target,
        budget="smoke", overrides=overrides,
    )  # fmt: skip
    for plan in composition.stages[-1].generators:
        for option, few in {"steps": 2, "queries": 10}.items():
            if hasattr(plan.part.plugin, option):
                setattr(plan.part.plugin, option, few)
    seen = step_of(composition, composition.stages[-1].name)
    seen.losses["total"].backward()
    gradients = [p.grad for p in seen.run.parameters if p.grad is not None]
    assert bool(torch.isfinite(seen.losses["total"]))
    assert gradients
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_each_registered_part_composes_with_something() -> None:
    there = {(kind, getattr(cell, kind)) for cell in COMPOSED for kind in matrix.AXES}
    missing = {(kind, name) for kind in matrix.AXES for name in matrix.names(kind)} - there
    assert {name for _, name in missing} <= {"spherical-kmeans-cuml"}, "no command uses these parts"


def test_the_matrix_is_printed_as_tables_and_as_json() -> None:
    done = fork(["compose", "--matrix", "--json"], Path.cwd(), tiny.environment())
    assert done.returncode == 0, done.stderr
    assert {title: len(cells) for title, cells in json.loads(done.stdout).items()} == {
        title: len(cells) for title, cells in PAIRS.items()
    }
    page = matrix.markdown(PAIRS)
    assert "| ncp |" in page
    assert "## Why not" in page
