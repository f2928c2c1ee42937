"""Steps that find their own length: the schedules, starts and budgets of Auto-PGD, each row on its own.

Linf and L2: Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks, ICML 2020, section 3 and algorithm 1. L1: Croce and Hein, Mind the box: l1-APGD for sparse
adversarial attacks on image classifiers, ICML 2021, section 4. A schedule knows no loss and no model: who climbs
asks it for the next candidates, tells it what they were worth, and hears which rows go back to their best point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor

from robustcl.rng import Rng, drawing
from robustcl.threat import Ball


class Schedule(Protocol):
    """How the rows that are still climbing move."""

    def move(self, adv: Tensor, gradient: Tensor) -> Tensor:
        """Return the next candidates (S, *item), inside ball and range."""
        ...

    def adapt(self, done: int, loss: Tensor, best: Tensor, best_loss: Tensor) -> Tensor | None:
        """Take note of what the candidates after ``done`` steps were worth; 0 is the start.

        ``loss`` and ``best_loss``: (S,); ``best``: (S, *item), each row's best candidate so far. Returns which rows
        go back to it, (S,) bool, or ``None`` for no row.
        """
        ...

    def take(self, rows: Tensor) -> None:
        """Go on with some rows only, (T,) int64."""
        ...


def schedule(x: Tensor, ball: Ball, *, steps: int, rho: float = 0.75, start: Tensor | None = None) -> Schedule:
    """Return the published schedule of the ball's norm for rows x (S, *item).

    ``rho``: which share of the steps between two checkpoints must raise the loss (Linf and L2). ``start``: a point
    found before, from which the first sparsity is taken (L1).
    """
    return _SCHEDULES[ball.norm](x, ball, steps, rho, start)


def start(x: Tensor, ball: Ball, rng: Rng) -> Tensor:
    """Return the published random start (S, *item), clamped to the range.

    Linf: uniform noise, stretched until it touches the ball. L2: a direction drawn uniformly, of length eps. L1:
    Gaussian noise projected onto ball and range.
    """
    return ball.project(x + _STARTS[ball.norm](x, ball, rng), x)


def checkpoints(steps: int) -> tuple[int, ...]:
    """Return the steps w_1 < w_2 < ... <= ``steps`` after which Linf and L2 rows may halve their step (eq. 3).

    w_j = ceil(p_j steps) with p_0 = 0, p_1 = 0.22, p_(j+1) = p_j + max(p_j - p_(j-1) - 0.03, 0.06). Counted in
    hundredths, so that rounding never adds a step.
    """
    found, width, share = [], 22, 22
    while share <= 100:
        found.append(-(-share * steps // 100))
        width = max(width - 3, 6)
        share += width
    return tuple(dict.fromkeys(found))


def budgets(steps: int) -> tuple[tuple[float, int], ...]:
    """Return the phases of the L1 attack, from a ball too large down to the true one: (share of eps, steps) each.

    30 % of the steps at 3 eps, 30 % at 2 eps, the rest at eps (Mind the box, section 4.3). Phases without a step are
    left out.
    """
    early = 3 * steps // 10
    return tuple((share, count) for share, count in ((3.0, early), (2.0, early), (1.0, steps - 2 * early)) if count)


class _Halving:
    """Momentum, and a step of 2 eps that a row halves where it climbs too rarely (Linf, L2).

    After w_j steps a row halves its step and goes back to its best point if (1) fewer than rho (w_j - w_(j-1)) of the
    steps since w_(j-1) raised the loss, or (2) neither its step nor its best loss has changed since w_(j-1). Each
    evaluation is compared with the one before it, also where the row went back in between.
    """

    alpha = 0.75

    def __init__(self, x: Tensor, ball: Ball, steps: int, rho: float, start: Tensor | None) -> None:
        self.x, self.ball, self.rho = x, ball, rho
        self.checkpoints, self.last = frozenset(checkpoints(steps)), 0
        self.step = 2.0 * _radius(ball, x)
        self.before: Tensor | None = None
        self.loss = self.mark = torch.full_like(self.step, -torch.inf)
        self.rises = torch.zeros_like(self.step)
        self.halved = torch.zeros_like(self.step, dtype=torch.bool)

    def move(self, adv: Tensor, gradient: Tensor) -> Tensor:
        moved = self.ball.project(self.ball.ascend(adv, gradient, self.step), self.x)
        if self.before is not None:
            pushed = adv + self.alpha * (moved - adv) + (1.0 - self.alpha) * (adv - self.before)
            moved = self.ball.project(pushed, self.x)
        self.before = adv
        return moved

    def adapt(self, done: int, loss: Tensor, best: Tensor, best_loss: Tensor) -> Tensor | None:
        if done == 0:
            self.loss, self.mark = loss, best_loss
            return None
        self.rises = self.rises + (loss > self.loss)
        self.loss = loss
        if done not in self.checkpoints:
            return None
        rarely = self.rises < self.rho * (done - self.last)
        stuck = ~self.halved & (best_loss <= self.mark)
        self.halved = rarely | stuck
        self.step = torch.where(self.halved, self.step / 2.0, self.step)
        self.last, self.mark, self.rises = done, best_loss, torch.zeros_like(self.rises)
        return self.halved

    def take(self, rows: Tensor) -> None:
        self.x, self.ball = self.x[rows], self.ball.take(rows)
        self.before = None if self.before is None else self.before[rows]
        self.step, self.loss, self.mark = self.step[rows], self.loss[rows], self.mark[rows]
        self.rises, self.halved = self.rises[rows], self.halved[rows]


class _Sparse:
    """Steps along the k largest entries of the gradient, where k follows the best point's sparsity (L1).

    Every 4 % of the steps (rounded down, at least every step) k becomes the number of changed entries of the best
    point / 1.5. A row whose best point lost over 5 % of its changed entries since goes back to it with a step of eps;
    any other divides its step by 1.5, down to eps / 10. No momentum. The first k is a fifth of all entries, or follows
    from a point found before. Where two thirds of the changed entries are at the range's limits, the next best one is
    out of reach: that is the published rule, and in trials ranking only entries with room left did no better.
    """

    def __init__(self, x: Tensor, ball: Ball, steps: int, rho: float, start: Tensor | None) -> None:
        self.x, self.ball = x, ball
        self.every = max(steps // 25, 1)
        self.step = _radius(ball, x)
        entries = torch.full_like(self.step, x[:1].numel(), dtype=torch.int64)
        changed = None if start is None else _changed(start, x)
        self.count = -(-entries // 5) if changed is None else _two_thirds(changed)
        self.changed = entries if changed is None else changed

    def move(self, adv: Tensor, gradient: Tensor) -> Tensor:
        size = gradient.flatten(1).abs()
        rank = (self.count.clamp(max=size.shape[1]) - 1).clamp(min=0)
        least = size.sort(1, descending=True).values.gather(1, rank[:, None])
        sign = torch.where(size >= least, gradient.flatten(1).sign(), 0.0)
        length = self.step[:, None] / sign.abs().sum(1, keepdim=True).clamp(min=1.0)
        return self.ball.project(adv + (length * sign).to(adv.dtype).view_as(adv), self.x)

    def adapt(self, done: int, loss: Tensor, best: Tensor, best_loss: Tensor) -> Tensor | None:
        if done == 0 or done % self.every:
            return None
        changed, whole = _changed(best, self.x), _radius(self.ball, self.x)
        sparser = 20 * changed < 19 * self.changed
        self.step = torch.where(sparser, whole, (self.step / 1.5).maximum(whole / 10.0))
        self.count, self.changed = _two_thirds(changed), changed
        return sparser

    def take(self, rows: Tensor) -> None:
        self.x, self.ball = self.x[rows], self.ball.take(rows)
        self.step, self.count, self.changed = self.step[rows], self.count[rows], self.changed[rows]


_SCHEDULES: Mapping[str, Callable[[Tensor, Ball, int, float, Tensor | None], Schedule]] = MappingProxyType(
    {"Linf": _Halving, "L2": _Halving, "L1": _Sparse}
)


def _touching(x: Tensor, ball: Ball, rng: Rng) -> Tensor:
    noise = rng.uniform(x.shape, -1.0, 1.0, device=x.device, dtype=drawing(x.dtype))
    return _stretched(noise, noise.flatten(1).abs().amax(1), x, ball)


def _spherical(x: Tensor, ball: Ball, rng: Rng) -> Tensor:
    noise = rng.normal(x.shape, device=x.device, dtype=drawing(x.dtype))
    return _stretched(noise, torch.linalg.vector_norm(noise.flatten(1), dim=1), x, ball)


def _stretched(noise: Tensor, length: Tensor, x: Tensor, ball: Ball) -> Tensor:
    """Return noise of the given length (S,) as noise of length eps, in x's precision."""
    radius = torch.as_tensor(ball.eps, dtype=noise.dtype, device=noise.device)
    return (noise * _column(radius / length.clamp(min=torch.finfo(noise.dtype).tiny), noise)).to(x.dtype)


def _gaussian(x: Tensor, ball: Ball, rng: Rng) -> Tensor:
    return rng.normal(x.shape, device=x.device, dtype=x.dtype)


_STARTS: Mapping[str, Callable[[Tensor, Ball, Rng], Tensor]] = MappingProxyType(
    {"Linf": _touching, "L2": _spherical, "L1": _gaussian}
)


def _radius(ball: Ball, x: Tensor) -> Tensor:
    """Return eps of each row, (S,)."""
    return torch.as_tensor(ball.eps, dtype=x.dtype, device=x.device).expand(len(x))


def _changed(adv: Tensor, x: Tensor) -> Tensor:
    """Return how many entries of each row differ from x, (S,) int64."""
    return (adv != x).flatten(1).sum(1)


def _two_thirds(count: Tensor) -> Tensor:
    """Return count / 1.5 rounded up, at least 1."""
    return ((2 * count + 2) // 3).clamp(min=1)


def _column(value: Tensor, like: Tensor) -> Tensor:
    return value.reshape(-1, *[1] * (like.dim() - 1))
