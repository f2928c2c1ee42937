"""From the outcomes of two methods on the same images to a test of their difference."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from robustcl.comparison.outcomes import Verdicts
from robustcl.comparison.statistics import ALPHA, Bootstrap, McNemar, bootstrap, holm, mcnemar
from robustcl.rng import Rng


@dataclass(frozen=True, slots=True)
class Difference:
    """What one line of a column has more than another, as a share; ``test`` is why there is none where it is text.

    corrected: the p-value after Holm's correction over all tests of the table.
    """

    column: int
    line: int
    against: int
    value: float
    test: McNemar | Bootstrap | str
    corrected: float | None = None

    @property
    def significant(self) -> bool:
        """Whether the corrected p-value lies below ``ALPHA``."""
        return self.corrected is not None and self.corrected < ALPHA

    @property
    def verdict(self) -> str:
        """The outcome in words."""
        if isinstance(self.test, str):
            return f"not tested: {self.test}"
        if not self.significant:
            return "not significant"
        return "significantly better" if self.value > 0 else "significantly worse"


def compare_pair(
    first: Sequence[Verdicts | str], second: Sequence[Verdicts | str], names: Sequence[str]
) -> McNemar | Bootstrap | str:
    """Test two methods by their outcomes on the same images, or say why that cannot be done.

    One seed each: McNemar's exact test. Several: the bootstrap over images; ``names`` key its random numbers.
    """
    right = align([*first, *second])
    if isinstance(right, str):
        return right
    ours, theirs = right[: len(first)], right[len(first) :]
    if len(first) == len(second) == 1:
        return mcnemar(ours[0], theirs[0])
    return bootstrap(ours, theirs, Rng(0, "compare", *names))


def align(verdicts: Sequence[Verdicts | str]) -> NDArray[np.bool_] | str:
    """Return the outcomes of several questions on the same images, (questions, n), or why there are none."""
    found = [one for one in verdicts if not isinstance(one, str)]
    if len(found) < len(verdicts):
        return next(one for one in verdicts if isinstance(one, str))
    if not all(_same(found[0], other) for other in found[1:]):
        return "the images are not the same"
    return np.stack([one.right for one in found])


def share_images(verdicts: Sequence[Verdicts]) -> NDArray[np.bool_] | str:
    """Return the outcomes of several questions on the images that all of them were asked of, (questions, n)."""
    common = functools.reduce(np.intersect1d, (one.index for one in verdicts))
    if not len(common):
        return "no image is in all of them"
    return align([_restrict(one, common) for one in verdicts])


def correct(differences: Sequence[Difference]) -> list[Difference]:
    """Return the differences with their p-values corrected for being several."""
    tests = [difference.test for difference in differences]
    corrected = iter(holm([test.p for test in tests if not isinstance(test, str)]))
    return [d if isinstance(d.test, str) else replace(d, corrected=next(corrected)) for d in differences]


def _restrict(one: Verdicts, images: NDArray[np.int64]) -> Verdicts:
    """Return the outcomes on some of the images; those of a question stand in ascending order."""
    places = np.searchsorted(one.index, images)
    clean = None if one.clean is None else tuple(one.clean[place] for place in places)
    return Verdicts(one.index[places], one.label[places], one.right[places], clean)


def _same(one: Verdicts, other: Verdicts) -> bool:
    hashes = one.clean is None or other.clean is None or one.clean == other.clean
    return hashes and np.array_equal(one.index, other.index) and np.array_equal(one.label, other.label)
