"""Studies that ship: every row composes, and some are run as they are at the smallest budget."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustcl import registry
from robustcl.recipe import Use
from robustcl.study import api
from robustcl.study.plan.setting import Setting
from robustcl.study.tables import table

BUDGETS = ("smoke", "small", "paper")
FOR_DIGITS = {"resnet-small", "cnn-4", "resnet-20"}
"""The encoders that recipes and studies adapt to images of 8 x 8 pixels."""


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("name", sorted(registry.studies()))
def test_every_row_of_every_study_composes(name: str, budget: str) -> None:
    found = api.compose(name, Setting(budget=budget))
    assert {run.composition.recipe.encoder.use for run in found.planned} <= FOR_DIGITS, (
        "what a budget asks is for CIFAR"
    )
    assert found.study.name == name.rpartition("/")[2]
    assert found.study.about
    assert found.study.cite
    assert found.study.differs, "a study says what differs from the paper"


@pytest.mark.parametrize("name", sorted(registry.studies()))
def test_every_study_composes_on_the_papers_data(name: str) -> None:
    found = api.compose(name, Setting(budget="paper", dataset="cifar10"))
    assert {float(run.composition.ball.eps) for run in found.planned} == {8 / 255}


def test_what_ncp_table_5_holds() -> None:
    found = api.compose("ncp-table-5", Setting(budget="paper", dataset="stl10"))
    assert [run.point["n"] for run in found.planned] == [2, 3, 4, 5]
    generators = [run.composition.stages[1].generators[0].part.plugin for run in found.planned]
    assert [generator.neighbour for generator in generators] == [2, 3, 4, 5]
    assert table.find_published(found.study, Use(use="stl10")) == "stl10"
    assert table.find_published(found.study, Use(use="digits")) == "cifar10"


@pytest.mark.parametrize(
    ("name", "overrides", "pictures", "some"),
    [
        ("gupta-figure-2", ("evaluate.0.audit=0",), 2, {"class ratio", "uniformity", "silhouette"}),
        (
            "ascl-bui-figure-4",
            ("evaluate.own.samples=32", "evaluate.own.audit=0", "data.validation=0.8"),
            1,
            {"R-DIV, 0.5 eps", "R-DIV, 1 eps", "RA, 1 eps"},
        ),
        (
            "gupta-table-1",
            ("evaluate.0.samples=24", "evaluate.0.audit=0", "data.validation=0.8"),
            1,
            {"PGD L2, drop", "PGD L1", "AA, eps/8, drop"},
        ),
    ],
)
def test_studies_run_at_the_smallest_budget(
    name: str, overrides: tuple[str, ...], pictures: int, some: set[str], tmp_path: Path
) -> None:
    made = api.compose(name, Setting(budget="smoke", overrides=overrides))
    outcome = api.run(made, tmp_path / "out", device="cpu")
    assert not outcome.failed
    for line in outcome.lines:
        found = {cell.column: cell.mean for cell in line.cells}
        assert some <= set(found)
        assert all(found[column] is not None for column in some)
    assert (tmp_path / "out" / "study.html").read_text(encoding="utf-8").count("<svg") == pictures
    assert any(cell.paper is not None for line in outcome.lines for cell in line.cells)
