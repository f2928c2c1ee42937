"""Where k-means starts: rows drawn far apart. The squared distance of unit rows is 2 (1 - cosine)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from robustcl.clustering.rows import wide
from robustcl.rng import Rng

Seeding = Callable[[Tensor, int, Rng], Tensor]
"""(unit rows (n, F), K, rng) -> K different rows, (K,) int64; at least K rows must not be zero."""


def plus_plus(unit: Tensor, clusters: int, rng: Rng) -> Tensor:
    """Draw K different rows by k-means++; return their positions, (K,) int64.

    Arthur and Vassilvitskii, k-means++: the advantages of careful seeding, SODA 2007, section 2.2, in the
    greedy form of its section 7: of 2 + log K rows drawn in proportion to the squared distance, the one that
    lowers the sum most.
    """
    trials = 2 + int(math.log(clusters))
    draws = _uniform(rng, (clusters, trials), unit)
    free = _nonzero(unit)
    chosen = [int(_draw(free, draws[0, :1]))]
    distance = _distance(unit, unit[chosen])
    for step in range(1, clusters):
        free[chosen[-1]] = 0
        candidates = _draw(_weights(distance, free), draws[step])
        lowered = torch.minimum(distance, _distances(unit, unit[candidates]))
        best = int(lowered.sum(dim=1).argmin())
        chosen.append(int(candidates[best]))
        distance = lowered[best]
    return torch.tensor(chosen, device=unit.device)


def afk_mc2(unit: Tensor, clusters: int, rng: Rng, *, chain: int = 200) -> Tensor:
    """Draw K different rows by AFK-MC2, which sees the whole data only once; return their positions, (K,)
    int64.

    Bachem, Lucic, Hassani and Krause, Fast and provably good seedings for k-means, NeurIPS 2016, algorithm 1:
    each further row is the end of a Metropolis-Hastings chain with proposal q = d(x, c1)^2 / (2 sum d^2) + 1
    / (2 n). A chain that ends on a row already drawn is replaced by a draw from the exact k-means++
    distribution.
    """
    free = _nonzero(unit)
    chosen = [int(_draw(free, _uniform(rng, (1,), unit)))]
    first = _weights(_distance(unit, unit[chosen]), free)
    proposal = first / (2 * first.sum()) + free / (2 * free.sum())
    draws, coins = _uniform(rng, (clusters, chain + 1), unit), rng.uniform((clusters, chain)).tolist()
    for step in range(1, clusters):
        free[chosen[-1]] = 0
        candidates = _draw(proposal, draws[step, :chain])
        distance = _distance(unit[candidates], unit[chosen]).to(free.dtype) * free[candidates]
        end = _walk(distance.tolist(), proposal[candidates].tolist(), coins[step])
        if distance[end] > 0:
            chosen.append(int(candidates[end]))
        else:
            exact = _weights(_distance(unit, unit[chosen]), free)
            chosen.append(int(_draw(exact, draws[step, chain:])))
    return torch.tensor(chosen, device=unit.device)


SEEDINGS: Mapping[str, Seeding] = {"k-means++": plus_plus, "afk-mc2": afk_mc2}
"""The seedings by name."""


def _walk(distance: list[float], proposal: list[float], coins: list[float]) -> int:
    """Return where a Metropolis-Hastings chain over the candidates, in their order, ends."""
    at = 0
    for to in range(1, len(distance)):
        if distance[to] * proposal[at] > coins[to] * distance[at] * proposal[to]:
            at = to
    return at


def _draw(weights: Tensor, uniform: Tensor) -> Tensor:
    """Return positions drawn in proportion to weights (n,), one for each uniform number."""
    total = weights.cumsum(0)
    return torch.searchsorted(total, uniform * total[-1], right=True).clamp(max=len(weights) - 1)


def _weights(distance: Tensor, free: Tensor) -> Tensor:
    """Return the distances of the rows still free; 1 each where they all coincide with a chosen row."""
    weights = distance.to(free.dtype) * free
    return weights if bool(weights.sum() > 0) else free.clone()


def _distance(rows: Tensor, centres: Tensor) -> Tensor:
    """Return 1 - cosine of each row to the nearest centre, (n,)."""
    return (1 - (rows @ centres.T).amax(dim=1)).clamp(min=0)


def _distances(rows: Tensor, centres: Tensor) -> Tensor:
    """Return 1 - cosine of each centre to each row, (k, n)."""
    return (1 - rows @ centres.T).clamp(min=0).T


def _nonzero(unit: Tensor) -> Tensor:
    return torch.where(torch.linalg.vector_norm(unit, dim=1) > 0, 1.0, 0.0).to(wide(unit.device))


def _uniform(rng: Rng, shape: tuple[int, ...], unit: Tensor) -> Tensor:
    return rng.uniform(shape, dtype=torch.float64).to(unit.device, wide(unit.device))
