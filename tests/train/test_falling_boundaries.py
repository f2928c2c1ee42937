"""The numbers of the rule by which an objective was still falling: each at its boundary, worked out by hand."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from robustcl.train.falling import still_falling


def spans(times: Sequence[float]) -> tuple[int, int]:
    """Return how many epochs are the quarter before and the last one, of an objective that falls without a stop."""
    said = still_falling(1.0, [-float(epoch) for epoch in range(len(times))], times)
    assert said is not None
    early = re.search(r"\(the (?:(\d+) epochs|epoch) before\)", said)
    late = re.search(r"\(the last (\d+) of", said)
    assert late is not None
    return int(early[1] or 1) if early else 0, int(late[1])


@pytest.mark.parametrize(("times", "expected"), [
    ([1.0] * 8, (2, 2)),  # the middles are 1/16, 3/16, ...: two lie beyond 3/4, two between 1/2 and 3/4
    ([1.0] * 4, (1, 1)),
    ([5.0, 2.0, 1.0], (1, 2)),  # the middle of the second is 6/8, just 3/4
    ([3.0, 2.0, 1.0, 2.0], (2, 1)),  # that of the second 4/8, just 1/2
    ([10.0] * 15 + [1.0] * 5 + [0.1] * 5, (4, 13)),  # 155.5 in all: beyond 116.6 from the 13th on, beyond 77.7 the 9th
    ([95.0, 5.0], (1, 1)),  # the last holds a twentieth of the time, which is enough
    ([95.1, 4.9], (0, 2)),  # ... and here it does not
    ([90.0, 96.0, 4.0, 4.0], (1, 3)),
])  # fmt: skip
def test_quarters_of_the_time(times: list[float], expected: tuple[int, int]) -> None:
    assert spans(times) == expected


@pytest.mark.parametrize(("before", "falls"), [(0.0205, True), (0.0195, False)])
def test_a_fall_of_a_fiftieth_of_the_whole_counts(before: float, falls: bool) -> None:
    assert (still_falling(1.0, [0.9, 0.5, before, 0.0], [1.0] * 4) is not None) == falls


@pytest.mark.parametrize(("scatter", "falls"), [(0.54, True), (0.57, False)])
def test_a_fall_of_two_standard_errors_counts(scatter: float, falls: bool) -> None:
    """The steps are -2 s, 2 s - f, -2 s: of standard deviation |f - 4 s| / 3^0.5, and the error is that / 2^0.5.

    Twice that is f at s = f (1 + 6^0.5 / 2) / 4 = 0.556 f.
    """
    level, fall = 1.0, 0.4
    ends = [
        level + fall + scatter * fall,
        level + fall - scatter * fall,
        level + scatter * fall,
        level - scatter * fall,
    ]
    assert (still_falling(4.0, [3.5, 3.0, 2.5, 2.0, *ends], [1.0] * 8) is not None) == falls


def test_means_are_weighted_by_time() -> None:
    """The last two of three hold 8 of 16: 4 at 6 and 2 at 2 make (4 * 6 + 2 * 2) / 6."""
    said = still_falling(20.0, [12.0, 6.0, 2.0], [10.0, 4.0, 2.0])
    assert said is not None
    assert "from 12 (the epoch before) to 4.667 (the last 2 of 3 epochs), 48% of the whole fall" in said


def test_epochs_without_a_rate_count_alike() -> None:
    """All time has passed in the first epoch: the two after it, of no time, join it."""
    said = still_falling(9.0, [6.0, 5.0, 3.0], [1.0, 0.0, 0.0])
    assert said is not None
    assert "from 9 (the first batch) to 6 (the last 3 of 3 epochs)" in said


def test_epochs_before_the_first_rate_count_alike_too() -> None:
    """All time passes in the last epoch: what stands before it is the mean of one epoch without a weight."""
    said = still_falling(9.0, [6.0, 5.0, 3.0], [0.0, 0.0, 1.0])
    assert said is not None
    assert "from 5 (the epoch before) to 3 (the last 1 of 3 epochs), 33% of the whole fall" in said
