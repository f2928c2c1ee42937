"""The claims of the studies that are installed: each can be decided, and the paper's own numbers bear it out."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest

from robustcl import registry
from robustcl.claims.cells import Cell
from robustcl.claims.contrasts import expand
from robustcl.study.grammar import source, spots
from robustcl.study.grammar.columns import Metric
from robustcl.study.grammar.study import Study
from robustcl.study.tables import table

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


@pytest.mark.parametrize("name", CLAIMED)
def test_a_claim_asks_for_some_training_and_an_equality_for_models_that_learned(name: str) -> None:
    """One epoch contradicts nothing, and models that collapsed are alike at chance, which is ten percent or less."""
    study = STUDIES[name]
    paper = published(study, study.data)
    for claim in study.claim:
        assert claim.least.steps >= 400, claim.name
        if claim.alike is None and (claim.above is None or claim.above.by >= 0):
            continue
        assert claim.least.above is not None, claim.name
        assert claim.least.above >= 15, claim.name
        parts = expand(claim, spots.shape(study))
        assert not isinstance(parts, str)
        read = {cell for ways in parts for way in ways for one in way for _, cell in one.terms}
        assert all(paper.get(cell, math.inf) > claim.least.above for cell in read), claim.name


def test_a_high_threshold_is_claimed_to_be_sure_where_the_rows_differ() -> None:
    """When training begins: "we begin with a high value of rho to avoid spurious detections"."""
    study = STUDIES["fnc-ablation"]
    begins = {row.name: float(row.name.split(" to ")[0]) for row in study.row if row.name[0] == "0"}
    claim = next(one for one in study.claim if one.name == "high-thresholds-detect-surely")
    parts = expand(claim, spots.shape(study))
    assert not isinstance(parts, str)
    for ((_, high), (_, low)), column in ((one.terms, one.terms[0][1].column) for ((one,),) in parts):
        assert begins[high.line] > begins[low.line]
        told = next(each for each in study.column if each.name == column)
        assert isinstance(told, Metric)
        assert told.over == "first epoch"


def test_ncp_is_held_against_every_adversarial_method_without_labels() -> None:
    study = STUDIES["methods-self-supervised"]
    claim = next(one for one in study.claim if one.name == "ncp-above-all")
    assert claim.above is not None
    assert {row.name for row in study.row} - {*(claim.above.than or ())} == {"SimCLR", "Adaptive FNC", "NCP-ACL"}


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
