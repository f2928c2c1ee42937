"""The rule by which a schedule is said to have ended before its objective did, on both of its sides."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from robustcl.rng import Rng
from robustcl.train.falling import LossCurve, still_falling


def rates(*parts: tuple[int, float]) -> list[float]:
    """Return the time of each epoch of ten steps."""
    return [10 * rate for epochs, rate in parts for _ in range(epochs)]


def towards(floor: float, times: Sequence[float], half: float, noise: float = 0.0) -> list[float]:
    """Return a curve from 2.3 to ``floor`` that halves its distance in every ``half`` of time."""
    gone, found = 0.0, []
    for time, draw in zip(times, Rng(0, "noise").normal((len(times),)).tolist(), strict=True):
        gone += time
        found.append(floor + (2.3 - floor) * math.exp(-math.log(2) * gone / half) + noise * draw)
    return found


SLF = rates((15, 0.1), (5, 0.01), (5, 0.001))


@pytest.mark.parametrize("half", [5.0, 10.0, 100.0])
def test_a_cut_rate_hides_no_fall(half: float) -> None:
    """After the cut the curve is flat to 1 %: it is the time until the cut that counts."""
    said = still_falling(2.3, towards(0.1, SLF, half), SLF)
    assert said is not None
    assert said.startswith("the objective was still falling where the schedule ended: from ")


@pytest.mark.parametrize("floor", [0.0, 0.1, 1.5])
@pytest.mark.parametrize("noise", [0.0, 1e-3])
@pytest.mark.parametrize("times", [SLF, rates((40, 0.1)), rates((20, 0.1), (60, 0.01))])
def test_what_has_arrived_raises_no_alarm(floor: float, noise: float, times: list[float]) -> None:
    assert still_falling(2.3, towards(floor, times, 0.8, noise), times) is None


def test_noise_alone_is_no_fall() -> None:
    times = rates((24, 0.1))
    found = [
        still_falling(2.3005, (2.3 + 0.001 * Rng(seed, "noise").normal((24,))).tolist(), times) for seed in range(40)
    ]
    assert sum(said is not None for said in found) <= 2  # of 40, at twice the standard error on one side
    rising = [2.3 + 0.01 * epoch for epoch in range(24)]
    assert still_falling(2.3, rising, times) is None


def test_short_schedules() -> None:
    assert "(the first batch) to 2 " in (still_falling(2.3, [2.0], [1.0]) or "")
    assert "(the epoch before) to 1.5 " in (still_falling(2.3, [2.0, 1.5], [1.0, 1.0]) or "")
    assert still_falling(2.3, [2.3], [1.0]) is None
    assert still_falling(2.3, [], []) is None
    assert still_falling(2.3, [1.0], [0.0]) is None


def test_a_curve_is_the_mean_of_each_epoch() -> None:
    curve = LossCurve()
    for loss, rate in ((3.0, 0.1), (1.0, 0.2)):
        curve.add(loss, rate)
    curve.end_epoch()
    curve.add(0.5, 0.1)
    assert curve.facts() == {"first": 3.0, "losses": [2.0], "times": [pytest.approx(0.3)]}
