"""Every combination of parts is composed or refused in a sentence, and what composes in pairs trains a finite step."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from robustcl.api import compose
from robustcl.composition import matrix
from tests.shared import tiny
from tests.shared.forks import fork
from tests.shared.one_step import TINY, step_of

REASON = re.compile(
    r" needs .*(add|write|bind)|nothing in \S+ reads pairs|nothing reads the clusters|cannot run here: "
    r"|reads .* but nothing trains|brings its own loss|which is not bound.*add constants"
)
"""An unmet need and what meets it, or a part that nothing reads."""


@pytest.fixture(scope="module")
def pairs() -> dict[str, list[matrix.Combination]]:
    return matrix.pairs()


@pytest.fixture(scope="module")
def composed(pairs: dict[str, list[matrix.Combination]]) -> list[matrix.Combination]:
    return [cell for cells in pairs.values() for cell in cells if cell.refused is None]


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


@pytest.mark.parametrize("objective", matrix.names("objective"))
def test_what_composes_trains_a_finite_step(composed: list[matrix.Combination], objective: str) -> None:
    cells = [cell for cell in composed if cell.objective == objective]
    assert cells
    assert not {cell.command: fault for cell in cells if (fault := fault_of(cell))}


def fault_of(cell: matrix.Combination) -> str | None:
    """Return what is wrong with a step of what ``cell`` composes."""
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
    if not bool(torch.isfinite(seen.losses["total"])):
        return f"the loss is {float(seen.losses['total'])}"
    if not gradients:
        return "nothing has a gradient"
    return None if all(bool(gradient.isfinite().all()) for gradient in gradients) else "a gradient is not finite"


def test_each_registered_part_composes_with_something(composed: list[matrix.Combination]) -> None:
    there = {(kind, getattr(cell, kind)) for cell in composed for kind in matrix.AXES}
    missing = {(kind, name) for kind in matrix.AXES for name in matrix.names(kind)} - there
    assert {name for _, name in missing} <= {"spherical-kmeans-cuml"}, "no command uses these parts"


def test_the_matrix_is_printed_as_tables_and_as_json(pairs: dict[str, list[matrix.Combination]]) -> None:
    done = fork(["compose", "--matrix", "--json"], Path.cwd(), tiny.environment())
    assert done.returncode == 0, done.stderr
    assert {title: len(cells) for title, cells in json.loads(done.stdout).items()} == {
        title: len(cells) for title, cells in pairs.items()
    }
    page = matrix.markdown(pairs)
    assert "| ncp  " in page
    assert "## Why not" in page
