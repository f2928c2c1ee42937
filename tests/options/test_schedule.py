"""Schedules against numbers worked out by hand."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest

from robustcl.errors import OptionError
from robustcl.options.schedule import Progress, Schedule, is_schedule, parse


def _at(table: dict[str, Any], epoch: float, epochs: float = 100.0, steps_per_epoch: int = 10) -> float:
    schedule = parse(table, "stage.x.lr")
    assert isinstance(schedule, Schedule)
    return schedule.at(Progress(round(epoch * steps_per_epoch), round(epochs * steps_per_epoch), epoch, epochs))


@pytest.mark.parametrize(("value", "number"), [(3, 3.0), (0.5, 0.5), ("8/255", 8 / 255), ("0.25", 0.25), (-1, -1.0)])
def test_numbers(value: object, number: float) -> None:
    assert parse(value, "x") == number


@pytest.mark.parametrize("value", [True, "fast", "8/0", "inf", math.nan, None, [1, 2]])
def test_refused_numbers(value: object) -> None:
    with pytest.raises(OptionError, match=r"stage\.x\.lr is"):
        parse(value, "stage.x.lr")


def test_constant() -> None:
    assert _at({"constant": "1/4"}, 7.3) == 0.25


@pytest.mark.parametrize(("epoch", "number"), [(0, 1.0), (25, 0.8), (50, 0.6), (100, 0.2), (120, 0.2)])
def test_linear(epoch: float, number: float) -> None:
    assert _at({"linear": [1.0, 0.2]}, epoch) == pytest.approx(number)


@pytest.mark.parametrize(
    ("epoch", "number"),
    [
        (0, 0.0),
        (0.5, 0.025),
        (5, 0.25),
        (10, 0.5),
        (25, 0.1 + 0.4 * (1 + math.sqrt(0.5)) / 2),
        (40, 0.3),
        (70, 0.1),
        (99, 0.1),
    ],
)
def test_cosine_with_warmup_and_until(epoch: float, number: float) -> None:
    """From 0.5 at epoch 10 to 0.1 at epoch 70; half-way at epoch 40."""
    table = {"cosine": [0.5, 0.1], "warmup": "10 epochs", "until": "70 epochs"}
    assert _at(table, epoch) == pytest.approx(number)


def test_warmup_from() -> None:
    """RoCL: 0.1 (1 + 14 e / 10) for 10 epochs."""
    table = {"cosine": [1.5, 0.0], "warmup": 10, "warmup_from": 0.1}
    for epoch in (0, 3, 9.9):
        assert _at(table, epoch, 1000) == pytest.approx(0.1 * (1 + 14 * epoch / 10))
    assert _at(table, 505, 1000) == pytest.approx(0.75)


@pytest.mark.parametrize("warmup", ["10%", 0.1, "10 epochs", "100 steps", 10])
def test_units_of_duration_agree(warmup: object) -> None:
    assert _at({"linear": [1.0, 0.0], "warmup": warmup}, 5) == pytest.approx(0.5)
    assert _at({"linear": [1.0, 0.0], "warmup": warmup}, 55) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("epoch", "number"), [(0, 0.1), (14.99, 0.1), (15, 0.01), (19.9, 0.01), (20, 0.001), (99, 0.001)]
)
def test_piecewise(epoch: float, number: float) -> None:
    assert _at({"piecewise": [0.1, 0.01, 0.001], "at": [15, 20]}, epoch) == number


def test_piecewise_in_parts_of_the_stage() -> None:
    for at in ([0.6, 0.8], ["60%", "80%"], ["60 epochs", 0.8]):
        found = [_at({"piecewise": [3, 2, 1], "at": at}, epoch) for epoch in (59.9, 60, 79.9, 80)]
        assert found == [3, 2, 2, 1]


def test_a_boundary_is_not_missed_by_rounding() -> None:
    """0.1 + 0.1 + ... is not 1: the first step of an epoch has an epoch number a hair below it."""
    epoch = sum([0.1] * 10) * 15
    assert epoch < 15
    assert _at({"piecewise": [1, 2], "at": [15]}, epoch) == 2
    assert _at({"stepped": [0.0, 1.0], "every": "15 epochs"}, epoch) == pytest.approx(0.15)


def test_dynacl_strength() -> None:
    """DynACL: s(e) = 1 - (e - 1) / E, refreshed when e mod 50 = 1; epochs e are counted from 1."""
    table = {"stepped": [1.0, 0.0], "every": "50 epochs"}
    current = math.nan
    for e in range(1, 1001):
        if e % 50 == 1:
            current = 1 - (e - 1) / 1000
        for within in (0.0, 0.5, 0.999):
            assert _at(table, e - 1 + within, 1000) == pytest.approx(current, abs=1e-12)
    assert current == pytest.approx(0.05)


def test_dynacl_weight_is_one_epoch_ahead() -> None:
    """DynACL: w(e) = min(1 + floor(e / 50) (50 / E) 2/3, 2); w(1000) = 5/3."""
    table = {"stepped": [1.0, "5/3"], "every": "50 epochs", "offset": 1}
    for e in range(1, 1001):
        assert _at(table, e - 1, 1000) == pytest.approx(min(1 + e // 50 * 50 / 1000 * 2 / 3, 2), abs=1e-12)
    assert _at(table, 48, 1000) == 1.0
    assert _at(table, 49, 1000) == pytest.approx(1 + 0.05 * 2 / 3)
    assert _at(table, 999, 1000) == pytest.approx(5 / 3)


def test_dynacl_learning_rate_is_per_epoch() -> None:
    """lr (e + 1) / 10 for e = 0 .. 9, constant within an epoch."""
    table = {"cosine": [5.0, 0.0], "warmup": 10, "every": 1, "offset": 1}
    for e in range(9):
        for within in (0.0, 0.7):
            assert _at(table, e + within, 1000) == pytest.approx(5.0 * (e + 1) / 10)


def test_acl_skips_the_first_zero() -> None:
    """The scheduler steps before the optimiser: the first step has 1/100 of the warm-up behind it."""
    table = {"cosine": [5.0, 0.0], "warmup": "10 epochs", "offset": "1 step"}
    assert _at(table, 0.0) == pytest.approx(0.05)
    assert _at(table, 9.9) == pytest.approx(5.0)


def test_stepped_in_parts_of_a_short_stage() -> None:
    """5% of 60 epochs is 3.0000000000000004 in floating point; epoch 3 still begins a new step."""
    assert _at({"stepped": [1.0, 0.0], "every": "5%"}, 3, 60) == pytest.approx(0.95)


def test_warmup_longer_than_the_stage() -> None:
    assert _at({"cosine": [1.0, 0.0], "warmup": "10 epochs"}, 1, 2) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"linaer": [1, 0]}, "did you mean 'linear'"),
        ({"cosine": [1, 0], "warm_up": 3}, "did you mean 'warmup'"),
        ({"linear": [1, 0], "at": [3]}, "has no 'at'"),
        ({"linear": [1, 0], "cosine": [1, 0]}, "has linear and cosine"),
        ({"linear": [1]}, "two numbers"),
        ({"linear": [1, "x"]}, "finite number"),
        ({"stepped": [1, 0]}, "needs every"),
        ({"stepped": [1, 0], "every": 0}, "positive duration"),
        ({"cosine": [1, 0], "warmup_from": 0.1}, "only with warmup"),
        ({"cosine": [1, 0], "warmup": "10 days"}, "write a duration"),
        ({"cosine": [1, 0], "warmup": 1.0}, "write a duration"),
        ({"cosine": [1, 0], "warmup": True}, "write a duration"),
        ({"cosine": [1, 0], "warmup": -3}, "write a duration"),
        ({"piecewise": [1, 2], "at": [1, 2]}, "one value more than points"),
        ({"piecewise": [1, 2]}, "one value more than points"),
        ({"piecewise": [1, 2, 3], "at": [20, 15]}, "rising order"),
        ({}, "has only nothing"),
    ],
)
def test_mistakes_are_named(table: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words) as caught:
        parse(table, "stage.robust.optimizer.lr")
    assert str(caught.value).startswith("stage.robust.optimizer.lr")


def test_is_schedule() -> None:
    schedule = parse({"linear": [0, 1]}, "x")
    assert is_schedule(schedule)
    assert is_schedule({"cosine": [1, 0]})
    assert is_schedule({"linaer": [1, 0]})
    assert not is_schedule({"use": "pgd", "steps": 5})
    assert not is_schedule(0.1)
    assert not is_schedule([1, 2])
    assert parse(schedule, "x") is schedule


def test_schedules_travel_and_speak() -> None:
    schedule = parse({"cosine": [0.5, 0], "warmup": "10 epochs"}, "x")
    assert str(schedule) == "cosine 0.5 to 0 after a warm-up of 10 epochs from 0"
    assert pickle.loads(pickle.dumps(schedule)) == schedule == copy.deepcopy(schedule)
