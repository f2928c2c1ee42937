"""How sure a proportion is."""

from __future__ import annotations

import math

Z95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


def wilson(correct: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion, (low, high) in [0, 1]; (0, 1) where n = 0.

    Raises ``ValueError`` unless 0 <= correct <= n. Source: E. B. Wilson, Probable inference, the law of
    succession, and statistical inference, JASA 22, 1927.
    """
    if not 0 <= correct <= n:
        raise ValueError(f"{correct} correct of {n}: correct must lie between 0 and n")
    if n == 0:
        return 0.0, 1.0
    share, weight = correct / n, z * z / n
    centre = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / n + weight / (4 * n))
    # Rounding may leave 1e-17 instead of 0 at the two ends, where the interval touches them exactly.
    return (0.0 if correct == 0 else centre - half), (1.0 if correct == n else centre + half)
