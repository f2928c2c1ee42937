"""Swept columns: one for each value, by whose names a row changes one; and columns as they may not be written."""

from __future__ import annotations

from typing import Any

import pytest

from robustcl.errors import UsageError
from robustcl.study.grammar.columns import spread
from tests.shared.tiny_study import PGD, RA, study


def test_a_swept_column_is_one_for_each_value() -> None:
    steps = RA | {"name": "RA, {} steps", "sweep": {"key": "attack.steps", "values": [1, 100]}}
    found = study(column=[RA, steps]).columns_of(study().row[0])
    assert [column.name for column in found] == [
        "RA, 0.5 eps",
        "RA, 1 eps",
        "RA, 2 eps",
        "RA, 1 steps",
        "RA, 100 steps",
    ]
    assert [column.times for column in found[:3]] == [0.5, 1, 2.0]  # type: ignore[union-attr]
    dumped = [column.attack.model_dump()["steps"] for column in found]  # type: ignore[union-attr]
    assert dumped == [2, 2, 2, 1, 100]
    assert PGD["steps"] == 2, "the table that was spread is as it was"


def test_a_row_changes_a_swept_column_by_its_own_name() -> None:
    rows = [
        {"name": "a", "recipe": "x"},
        {"name": "b", "recipe": "x", "column": {"RA, {} eps": {"attack": {"use": "pgd", "steps": 7}}}},
    ]
    one = study(row=rows, column=[RA])
    dumped = [[column.attack.model_dump()["steps"] for column in one.columns_of(row)] for row in one.row]  # type: ignore[union-attr]
    assert dumped == [[2, 2, 2], [7, 7, 7]]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"column": [RA | {"name": "RA"}]}, "column.RA: a column with a sweep, and no other, has {} in its name"),
        ({"column": [{"name": "SA {}"}]}, "column.SA {}: a column with a sweep, and no other, has {} in its name"),
        ({"column": [RA | {"sweep": {"key": "times", "values": [1, -1]}}]}, "times = -1 is not accepted"),
        ({"column": [RA | {"sweep": {"key": "tims", "values": [1]}}]}, "unknown key 'tims'"),
        ({"column": [RA | {"sweep": {"key": "times", "values": [1, 1.0]}}]}, "its columns are not those of the first"),
        ({"column": [RA], "figure": [{"kind": "sweep", "columns": ["RA, 1 eps"]}]}, "there is no column 'RA, 1 eps'"),
        ({"column": [RA], "figure": [{"kind": "bars", "columns": ["RA, 3 eps"]}]}, "there is no column 'RA, 3 eps'"),
        (
            {"column": [RA, RA | {"name": "x{}", "sweep": {"key": "times", "values": [1]}}],
             "figure": [{"kind": "scatter", "x": "x{}", "y": "RA, {} eps"}]},
            "'x{}' and 'RA, {} eps' are not swept over the same values",
        ),
        (
            {"row": [{"name": "a", "recipe": "x", "paper": {"cifar10": {"RA, eps": 1.0}}}], "column": [RA]},
            "row.a.paper.cifar10: there is no column 'RA, eps'",
        ),
        (
            {"column": [{"name": "t", "use": "transferred", "source": "fa", "attack": "fgsm"}]},
            "column.t.source: there is no row 'fa', did you mean 'far'?",
        ),
    ],
)  # fmt: skip
def test_faults_are_sentences(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        study(**changes)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_spread_leaves_other_columns_alone() -> None:
    assert spread({"name": "SA", "use": "accuracy"}) == [{"name": "SA", "use": "accuracy"}]
