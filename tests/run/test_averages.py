"""An average that its stage was too short for is said to be, in part, the weights that the stage began with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from robustcl.api import compose, from_tables
from robustcl.options.schedule import parse
from robustcl.run import averages
from tests.shared import tiny


def with_average(momentum: Any, encoder: str = "slow") -> dict[str, Any]:
    tables = tiny.tables()
    tables["stage"][1]["encoders"]["slow"] = {"of": "online", "momentum": momentum}
    tables["evaluate"][0] |= {"encoder": encoder, "route": ["adv"]}
    return tables


def test_the_share_is_that_of_the_loop(tmp_path: Path) -> None:
    """Ten steps with momentum 0.9 leave 0.9^10 = 35 % of what the stage began with: so the judged weights say."""
    said: list[str] = []
    run = from_tables(with_average(0.9), "tiny").train(tmp_path / "run", device="cpu", report=False, say=said.append)
    wanted = "stage.robust.encoders.slow: 35% of the judged average are still initial weights after 10 steps"
    assert sum(wanted in line for line in said) >= 2  # before it is trained, and where it is judged
    rows = json.loads((run.path / "results.json").read_text(encoding="utf-8"))["rows"]
    assert all(any(wanted in remark for remark in row["remarks"]) for row in rows)


@pytest.mark.parametrize(
    ("momentum", "steps", "share"),
    [(0.99, 40, 0.668972), (0.99, 300, 0.049041), (0.0, 3, 0.0), (0.5, 0, 1.0), (0.9, 1, 0.9)],
)
def test_the_share_by_hand(momentum: float, steps: int, share: float) -> None:
    assert averages.share_remaining(momentum, steps, 1) == pytest.approx(share, abs=1e-6)


def test_a_momentum_that_is_a_schedule_is_multiplied_step_by_step() -> None:
    number = parse({"piecewise": [0.5, 0.9], "at": [1]}, "momentum")
    assert averages.share_remaining(number, 4, 2) == pytest.approx(0.5**2 * 0.9**2)


def test_only_what_is_judged_or_goes_on_is_said_and_only_above_a_tenth() -> None:
    composed = from_tables(with_average(0.9, "online"), "tiny")
    assert averages.list_taken(composed, "robust") == []
    assert averages.list_taken(from_tables(with_average(0.9), "tiny"), "robust") == ["slow"]
    plan = from_tables(with_average(0.8), "tiny").stages[1]
    assert averages.stale(plan, "slow", 10) is not None  # 10.7 %
    assert averages.stale(plan, "slow", 11) is None  # 8.6 %
    assert averages.stale(plan, "online", 1) is None


@pytest.mark.parametrize("recipe", ["dynacl", "dynacl++"])
@pytest.mark.parametrize(("budget", "steps"), [("small", 300), ("smoke", 10)])
def test_the_budgets_of_digits_are_long_enough_for_their_average(recipe: str, budget: str, steps: int) -> None:
    composed = compose(recipe=recipe, dataset="digits", budget=budget)
    first = composed.stages[0]
    images = 1437 - 144
    assert first.epochs * (images // first.batch) == steps
    assert averages.list_taken(composed, "pretrain") == ["ema"]
    assert averages.stale(first, "ema", steps) is None
    assert averages.share_remaining(first.ema["ema"].momentum, steps, first.epochs) < 0.01


def test_the_paper_keeps_its_momentum() -> None:
    assert compose(recipe="dynacl", budget="paper").stages[0].ema["ema"].momentum == 0.99
