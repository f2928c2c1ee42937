"""The drops that Gupta et al. print are those of the accuracies that they print, as far as they are."""

from __future__ import annotations

import pytest

from robustcl.study import source

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
