"""The lines of a table: mean and deviation over seeds, and what the paper reports beside them."""

from __future__ import annotations

import pytest

from robustcl.report import marked
from robustcl.study.grammar import spots
from robustcl.study.numbers.reading import Reading
from robustcl.study.tables import layout, table
from tests.shared.tiny_study import RA, study


def test_seeds_become_a_mean_and_a_deviation() -> None:
    one = study(row=[{"name": "a", "recipe": "x", "paper": {"cifar10": {"SA": 80.0}}}], data="cifar10")
    line = table.line(
        one,
        next(spots.points(one)),
        [[Reading(0.5, 0.4, 0.6, 10)], [Reading(0.7, 0.6, 0.8, 10)]],
        "cifar10",
    )
    cell = line.cells[0]
    assert cell.mean == pytest.approx(60.0)
    assert cell.std == pytest.approx(100 * (2 * 0.1**2 / 1) ** 0.5)
    assert (cell.low, cell.seeds, cell.paper) == (None, 2, 80.0)
    text = marked.table(layout.make_grid(one, [line], "cifar10"))
    assert text.splitlines()[0] == "|     |      SA, ours | SA, paper, cifar10 |"
    assert text.splitlines()[2] == "| a   | 60.00 ± 14.14 |              80.00 |"
    alone = table.line(one, next(spots.points(one)), [[Reading(0.5, 0.4, 0.6, 10)]], "stl10").cells[0]
    assert alone.text() == "50.00 [40.00, 60.00]"
    assert alone.paper is None, "the paper has nothing for this data set"


def test_what_an_axis_reports_stands_at_its_value() -> None:
    axis = [{"name": "n", "path": "p", "values": [2, 3], "paper": {"2": {"stl10": {"SA": 84.06}}}}]
    one = study(row=[{"name": "a", "recipe": "x"}], axis=axis, data="stl10")
    found = [table.line(one, spot, [], "stl10").cells[0] for spot in spots.points(one)]
    assert [cell.paper for cell in found] == [84.06, None]
    assert [cell.text() for cell in found] == ["–", "–"]


def test_the_paper_may_report_what_is_not_swept_over_now() -> None:
    rows = [{"name": "a", "recipe": "x", "paper": {"cifar10": {"RA, 4 eps": 1.0, "RA, 1 eps": 2.0}}}]
    one = study(row=rows, column=[RA], data="cifar10")
    line = table.line(one, next(spots.points(one)), [], "cifar10")
    assert [cell.paper for cell in line.cells] == [None, 2.0, None]
