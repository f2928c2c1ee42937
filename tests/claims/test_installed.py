"""The claims of the studies that are installed: each can be decided, and the paper's own numbers bear it out."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest

from robustcl import registry
from robustcl.claims.cells import Cell
from robustcl.claims.contrasts import expand
from robustcl.study import source, spots, table
from robustcl.study.grammar import Study

ROOT = Path(__file__).parents[2]
STUDIES = {name: source.read(name, budget="paper") for name in sorted(registry.studies())}
CLAIMED = [name for name, study in STUDIES.items() if study.claim]


def published(study: Study, data: str) -> dict[Cell, float]:
    lines = [table.line(study, spot, [], data) for spot in spots.points(study)]
    cells = [(Cell(line.label, cell.column), cell.paper) for line in lines for cell in line.cells]
    return {cell: paper for cell, paper in cells if paper is not None}


@pytest.mark.parametrize("name", CLAIMED)
def test_the_papers_own_numbers_bear_a_claim_out(name: str) -> None:
    """Where the paper reports all numbers of a contrast for the data set that the study shows."""
    study = STUDIES[name]
    paper = published(study, study.data)
    for claim in study.claim:
        parts = expand(claim, spots.shape(study))
        assert not isinstance(parts, str), f"{claim.name}: {parts}"
        for ways in parts:
            known = [way for way in ways if all(cell in paper for one in way for _, cell in one.terms)]
            held = [all(math.fsum(weight * paper[cell] for weight, cell in one.terms) > one.margin for one in way)
                    for way in known]  # fmt: skip
            assert any(held) or not known, f"{claim.name}: {ways[0][0].said} is not so in the paper"


@pytest.mark.parametrize("paper", ["ncp", "ascl-bui", "ascl-li", "gupta"])
def test_each_paper_is_asked_about_in_six_claims_at_least(paper: str) -> None:
    assert sum(len(study.claim) for name, study in STUDIES.items() if name.startswith(f"{paper}-")) >= 6


def test_there_are_thirty_claims_at_least() -> None:
    assert sum(len(study.claim) for study in STUDIES.values()) >= 30


@pytest.mark.parametrize("name", CLAIMED)
def test_a_claim_says_what_it_is_in_one_sentence(name: str) -> None:
    for claim in STUDIES[name].claim:
        assert claim.says.endswith(".")
        assert "\n" not in claim.says


@pytest.mark.parametrize("name", ["claims", "results"])
def test_a_committed_page_is_what_the_stored_outcomes_make(name: str) -> None:
    """``python docs/NAME_page.py`` writes it anew: after a claim was added, and after an outcome was stored."""
    spec = importlib.util.spec_from_file_location(f"{name}_page", ROOT / "docs" / f"{name}_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    committed = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    assert module.page() == committed, f"run python docs/{name}_page.py"
