"""What a difference of a few samples may be worth."""

from __future__ import annotations

import math

from torch import Tensor

from robustcl.audit.values import Verdict
from robustcl.evaluate.interval import wilson

ALPHA = 0.01
"""A difference counts where chance would bring it about less often than this."""

SHARE = 0.002
"""0.2 points: up to here, what only a weaker attack broke is forgiven (the bar of AutoAttack's own check)."""

POINTS = (0.05, 0.15)
"""Where an attack breaks more than this share of the samples beyond what a reported one broke, the number misleads,
and where more than the second, it is wrong."""


def mcnemar(more: int, less: int) -> float:
    """Return how likely at least ``more`` of ``more + less`` are by the toss of a coin: McNemar's exact test."""
    n = more + less
    return float(sum(math.comb(n, k) for k in range(more, n + 1)) / 2**n)


def beyond(count: int, n: int) -> bool:
    """Say whether so many of n samples are too many to forgive: two at least, and more than 0.2 points."""
    return count >= 2 and count > SHARE * n


def above(correct: int, n: int, share: float) -> bool:
    """Say whether an accuracy lies above ``share`` with its whole 95 % interval."""
    return n > 0 and wilson(correct, n)[0] > share


def at_least(count: int, n: int, share: float) -> float:
    """Return how likely at least ``count`` of n samples are where each counts with the chance ``share``."""
    ways = (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(count, n + 1))
    odds = (k * math.log(share) + (n - k) * math.log1p(-share) for k in range(count, n + 1))
    return math.fsum(math.exp(way + odd) for way, odd in zip(ways, odds, strict=True))


def say_overstatement(lost: Tensor, judged: Tensor) -> Verdict:
    """Return what it means for a number of the samples ``judged`` (n,) bool that ``lost`` (n,) fell to another attack.

    A few are forgiven where it might be a toss of a coin which attack breaks more; of few samples, where less than
    ``POINTS[0]`` of all might have fallen.
    """
    fallen, n = int((lost & judged).sum()), int(judged.sum())
    share = fallen / max(n, 1)
    if share <= POINTS[0] or min(mcnemar(fallen, 0), at_least(fallen, n, POINTS[0])) >= ALPHA:
        return "pass"
    return "fail" if share > POINTS[1] else "warn"
