"""The attacks that judge are counted as if they fooled nobody, and those that ask often only when there is time."""

from __future__ import annotations

from typing import Any

import pytest

from robustcl import api
from robustcl.cost import estimate
from robustcl.cost.judging import AttackCounts, add_judging
from robustcl.cost.network import Networks
from robustcl.cost.sizes import find_sizes
from robustcl.cost.words import of_judging
from tests.shared import tiny


def composed(**evaluate: Any) -> api.Composition:
    return api.from_tables(tiny.tables(evaluate=[{"protocol": "slf", "route": ["clean", "adv"], **evaluate}]), "it")


def test_steps_are_counted_once_for_every_image_of_every_split_and_route() -> None:
    """Validation images are judged beside those of the test; the first ones alone where the evaluation says so."""
    made = composed(attacks=["fgsm", {"use": "pgd", "steps": 7, "samples": 20}], samples=200)
    judged = AttackCounts().count(made, find_sizes(made))
    assert [(each.name, each.images) for each in judged] == [("slf: fgsm", 2 * (200 + 144)), ("slf: pgd", 2 * 40)]
    rates = [each.rates for each in judged]
    assert [rate.inputs for rate in rates if rate is not None] == [1.0, 7.0]
    assert all(rate is not None and 1.0 <= rate.forward < 4.0 for rate in rates), (
        "verdicts, and what is folded is tried"
    )
    cost = estimate(made)
    whole = add_judging(cost, made, judged, Networks())
    added = whole.stages[len(cost.stages) :]
    assert [stage.steps for stage in added] == [0, 0]
    assert [stage.passes for stage in added] == [
        pytest.approx(each.images * each.rates.passes) for each in judged if each.rates is not None
    ]


def test_what_asks_often_is_left_out_and_named() -> None:
    made = composed(attacks=["fgsm", {"use": "square", "queries": 20}, {"use": "pgd", "steps": 30}])
    judged = AttackCounts(most=12).count(made, find_sizes(made))
    assert [each.rates is None for each in judged] == [False, True, True]
    (said,) = of_judging(judged)
    assert "without square, pgd, which --time counts" in said
    assert all(each.rates is not None for each in AttackCounts(None).count(made, find_sizes(made)))
