"""The drops that Gupta et al. print are those of the accuracies that they print, as far as they are."""

from __future__ import annotations

import pytest

from robustcl.study.grammar import source

OF_ANOTHER = {("gupta-table-3", "TCLR", "hmdb51"), ("gupta-table-3", "CVRL", "hmdb51")}
"""Printed from the clean accuracy of supervised training, which the study says."""


@pytest.mark.parametrize("name", [f"gupta-table-{number}" for number in (1, 2, 3, 4)])
def test_a_drop_is_the_share_of_the_clean_accuracy_that_is_lost(name: str) -> None:
    study = source.read(name)
    checked = 0
    for row in study.row:
        for data, paper in row.paper.items():
            clean = study.row[0].paper[data]["clean"] if (name, row.name, data) in OF_ANOTHER else paper["clean"]
            for column, drop in paper.items():
                if column.endswith(", drop"):
                    assert drop == pytest.approx(100 * (1 - paper[column.removesuffix(", drop")] / clean), abs=0.9)
                    checked += 1
    assert checked >= 28
    if any(name == study for study, _, _ in OF_ANOTHER):
        assert any("24.8" in sentence for sentence in study.differs)


def test_the_gap_that_is_closed_is_one_of_the_drops() -> None:
    study = source.read("gupta-table-4")
    papers = {row.name: row.paper["cifar10"] for row in study.row}
    over, toward, wrong = papers["SimCLR"], papers["SupCon"], []
    for name, paper in papers.items():
        for column in (column for column in paper if column.endswith(", gap closed")):
            drop = column.replace("gap closed", "drop")
            closed = 100 * (over[drop] - paper[drop]) / (over[drop] - toward[drop])
            if paper[column] != pytest.approx(closed, abs=4):
                wrong.append((name, column, paper[column], round(closed)))
    assert wrong == [("Adaptive FNC, 0.9", "FGSM, 2 eps, gap closed", 53, 47),
                     ("Adaptive FNC, 0.9", "AA, eps/8, gap closed", 25, 36)]  # fmt: skip
    assert any("47" in sentence and "36" in sentence for sentence in study.differs)
