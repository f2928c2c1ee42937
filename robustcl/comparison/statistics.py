"""Is a difference more than chance? Paired tests on the same images, and the correction for asking several times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from robustcl.rng import Rng

ALPHA = 0.05
"""A difference counts as significant where its corrected p-value lies below."""

RESAMPLES = 10_000
"""How often the bootstrap draws the images anew."""


@dataclass(frozen=True, slots=True)
class McNemar:
    """``first``, ``second``: images that only one of the two gets right; ``p``: two-sided."""

    first: int
    second: int
    p: float


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """The 95 % percentile interval of a difference of mean accuracies, shares in [-1, 1], and its two-sided ``p``."""

    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean with its 95 % interval, ``None`` where the values do not differ; ``up``, ``down``: one-sided p-values.

    ``up`` is small where the mean lies above 0, ``down`` where it lies below.
    """

    value: float
    low: float | None
    high: float | None
    up: float
    down: float


def deviation(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation (n - 1 in the denominator), ``None`` of fewer than two values."""
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> McNemar:
    """Test whether two classifiers err equally often on the same n images; both (n,), true where right.

    Exact: under the null hypothesis each image that one alone gets right is a fair coin. Source: Q. McNemar, Note on
    the sampling error of the difference between correlated proportions or percentages, Psychometrika 12, 1947.
    """
    from scipy import stats  # type: ignore[import-untyped]  # a second to import

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    coins = only_first + only_second
    p = float(stats.binomtest(only_first, coins, 0.5).pvalue) if coins else 1.0
    return McNemar(only_first, only_second, p)


def one_sided(test: McNemar) -> tuple[float, float]:
    """Return the p-values of the first one being better and of its being worse; twice the smaller is the test's own."""
    from scipy import stats

    coins = test.first + test.second
    return float(stats.binom.sf(test.first - 1, coins, 0.5)), float(stats.binom.cdf(test.first, coins, 0.5))


def paired_t(differences: Sequence[float]) -> Mean:
    """Test whether the mean of two or more paired differences is 0.

    Differences that are all the same have no spread to hold the mean against; then each is a fair coin, by the sign
    test. Source: Student, The probable error of a mean, Biometrika 6, 1908.
    """
    from scipy import stats

    count, spread = len(differences), deviation(differences)
    mean = math.fsum(differences) / count
    if not spread or spread < 1e-12 * abs(mean):
        same = 0.5**count
        return Mean(mean, None, None, same if mean > 0 else 1.0, same if mean < 0 else 1.0)
    error = spread / math.sqrt(count)
    reach, t = float(stats.t.ppf(0.975, count - 1)) * error, mean / error
    return Mean(mean, mean - reach, mean + reach, float(stats.t.sf(t, count - 1)), float(stats.t.cdf(t, count - 1)))


def resample_means(outcomes: NDArray[np.bool_], rng: Rng, resamples: int = RESAMPLES) -> NDArray[np.float64]:
    """Draw n images anew, each with all that is known of it: (K, n) outcomes to (resamples, K) means."""
    kinds, counts = np.unique(outcomes, axis=1, return_counts=True)
    drawn = _resampled(counts, rng, resamples)
    means: NDArray[np.float64] = drawn @ kinds.T.astype(np.int64) / outcomes.shape[1]
    return means


def bootstrap(first: NDArray[np.bool_], second: NDArray[np.bool_], rng: Rng, resamples: int = RESAMPLES) -> Bootstrap:
    """Draw the images anew and look how the difference of two mean accuracies moves.

    first (S, n), second (T, n): outcomes of S and T seeds on the same n images, true where right. An image keeps the
    outcomes of all its seeds, so the interval covers the choice of images and not the choice of seeds. p is twice the
    smaller share of resamples at or beyond no difference, and never 0. Source: B. Efron and R. Tibshirani, An
    Introduction to the Bootstrap, 1993, sections 13.3 and 15.4; (1 + k) / (1 + resamples) as A. Davison and D. Hinkley,
    Bootstrap Methods and their Application, 1997, section 4.2.
    """
    unit, images = len(first) * len(second), first.shape[1]
    # Counted in whole units of 1 / (S T), so that no difference is exactly 0 and not 1e-17.
    difference = first.sum(0) * len(second) - second.sum(0) * len(first)
    values, counts = np.unique(difference, return_counts=True)
    sums = _resampled(counts, rng, resamples) @ values
    tails = (np.count_nonzero(sums <= 0), np.count_nonzero(sums >= 0))
    low, high = np.quantile(sums / (unit * images), [0.025, 0.975])
    return Bootstrap(float(low), float(high), min(1.0, 2 * (1 + min(tails)) / (1 + resamples)))


def _resampled(counts: NDArray[np.int64], rng: Rng, resamples: int) -> NDArray[np.int64]:
    """Return how often each kind of image is drawn, (resamples, kinds).

    n draws with replacement from images of a few kinds are one multinomial draw; it is made of binomial ones, kind
    after kind, by the inverse of their distribution function. 10,000 resamples of 10,000 images take no 10^8 draws.
    """
    from scipy import stats

    left, of = np.full(resamples, int(counts.sum())), int(counts.sum())
    columns = []
    for count in counts[:-1]:
        uniform = rng.uniform((resamples,), dtype=torch.float64).numpy()
        drawn = np.maximum(stats.binom.ppf(uniform, left, int(count) / of), 0).astype(np.int64)
        columns.append(drawn)
        left, of = left - drawn, of - int(count)
    return np.stack([*columns, left], axis=1)


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values corrected for being several, in the given order.

    Source: S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6,
    1979.
    """
    corrected, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = largest
    return corrected
