"""RayS: the nearest wrong decision along rays to the corners of the Linf ball, from decisions alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import ClassVar

import torch
from torch import Tensor

from robustcl import search
from robustcl.errors import UsageError
from robustcl.options import Count, Positive
from robustcl.protocols import Need
from robustcl.threat import Ball
from robustcl.types import Attack
from robustcl_plugins.generators.verdicts import claimed


class RayS:
    """Flips the signs of a ray block by block and keeps what brings the wrong decision nearer.

    Needs neither a gradient nor a score, only whether a candidate fools the model: where a model hides both, this
    still sees it. The blocks are halves, quarters and so on of the flattened item, and in the end single values,
    again and again. Each row is at its own block and its own step of the bisection, and leaves when it is fooled
    within eps. Draws no random number. Linf alone, and only in a range. Rows that are never fooled within eps
    become the point at eps on their nearest ray, or x where no ray met a wrong decision.

    queries: candidates of each row; one forward pass each. tolerance: where the bisection of a ray ends, in L2.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PREDICTIONS, Need.LABELS})
    lockstep: ClassVar[bool] = False
    citation: ClassVar[str] = (
        "Chen and Gu, RayS: A Ray Searching Method for Hard-label Adversarial Attack, KDD 2020, algorithms 1 and 3"
    )

    def __init__(self, *, queries: Count = 5000, tolerance: Positive = 0.001) -> None:
        self.queries = queries
        self.tolerance = tolerance

    def check_threat(self, classes: int, ball: Ball, who: str) -> None:
        """Raise ``UsageError`` for another norm than Linf, and where there is no range."""
        reach(ball)

    @torch.no_grad()
    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        width = reach(attack.ball)
        result, found = x.detach().clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device)
        found |= search.confirm(attack, result, claimed(attack.encode(result), attack))
        rows = (~found).nonzero()[:, 0]
        attack, rays = attack.take(rows), _Rays.begun(result[rows], width)
        for _ in range(self.queries):
            if len(rows) == 0:
                break
            candidates, radius = rays.candidates(attack.ball)
            claim = claimed(attack.encode(candidates), attack)
            inside = radius <= attack.ball.eps
            broken = search.confirm(attack, candidates, claim & inside)
            rays.learn(torch.where(inside, broken, claim), self.tolerance)
            if bool(broken.any()):
                result[rows[broken]] = candidates[broken]
                kept = (~broken).nonzero()[:, 0]
                rows, attack, rays = rows[kept], attack.take(kept), rays.take(kept)
        result[rows] = rays.nearest(attack.ball)
        return result


def reach(ball: Ball) -> float:
    """Return how far a ray goes; raises ``UsageError`` for a ball that RayS does not know."""
    if ball.norm != "Linf":
        raise UsageError(f"rays searches the corners of a Linf ball, not of {ball.norm}: take square in this norm")
    if ball.range is None:
        raise UsageError("rays starts at the ends of the range, and this threat has none: give the threat a range")
    return ball.range[1] - ball.range[0]


@dataclass(slots=True)
class _Rays:
    """Where each row is in its rays; radii in Linf.

    x (R, *item). ray (R, d): the signs of the nearest ray. radius (R,): where it meets a wrong decision, infinity
    before the first. level, block (R,): the block that is flipped. low, high (R,): the bracket of the flipped ray.
    bisecting (R,): whether that ray has passed its check. width (R,): the largest radius.
    """

    x: Tensor
    ray: Tensor
    radius: Tensor
    level: Tensor
    block: Tensor
    low: Tensor
    high: Tensor
    bisecting: Tensor
    width: Tensor

    @classmethod
    def begun(cls, x: Tensor, width: float) -> _Rays:
        zeros, whole = x.new_zeros(len(x)), torch.zeros(len(x), dtype=torch.int64, device=x.device)
        radius = torch.full_like(zeros, math.inf)
        ray = torch.ones_like(x.flatten(1))
        return cls(x, ray, radius, whole, whole, zeros, zeros, whole > 0, torch.full_like(zeros, width))

    def candidates(self, ball: Ball) -> tuple[Tensor, Tensor]:
        """Return what to ask next (R, *item) and its radius (R,): the flipped ray at its check or its middle."""
        at = torch.where(self.bisecting, (self.low + self.high) / 2, self.radius.minimum(self.width))
        return self._points(self._flipped(), at, ball), at

    def learn(self, fooled: Tensor, tolerance: float) -> None:
        """Move each row on by the answer (R,) bool to its candidate.

        A check at the best radius that does not fool ends the block. Otherwise the ray is bisected from 0 on until
        the bracket is at most ``tolerance`` long in L2, and kept if it is nearer than the best one.
        """
        middle = (self.low + self.high) / 2
        checked = ~self.bisecting & fooled
        low = torch.where(self.bisecting & ~fooled, middle, self.low)
        high = torch.where(self.bisecting & fooled, middle, self.high)
        self.low = torch.where(checked, 0.0, low)
        self.high = torch.where(checked, self.radius.minimum(self.width), high)
        narrow = (self.high - self.low) * math.sqrt(self.ray.shape[1]) <= tolerance
        met = self.bisecting & narrow
        nearer = met & (self.high < self.radius)
        ended = met | (~self.bisecting & ~fooled)
        self.ray = torch.where(nearer[:, None], self._flipped(), self.ray)
        self.radius = torch.where(nearer, self.high, self.radius)
        self.bisecting = (self.bisecting | fooled) & ~ended
        last = self._span()[1] >= self.ray.shape[1]
        self.block = torch.where(ended, torch.where(last, 0, self.block + 1), self.block)
        deeper = ended & last & (2**self.level < self.ray.shape[1])
        self.level = self.level + deeper.long()

    def nearest(self, ball: Ball) -> Tensor:
        """Return the point at eps on the nearest ray, x where there is none."""
        eps = torch.as_tensor(ball.eps, dtype=self.x.dtype, device=self.x.device).expand(len(self.x))
        return self._points(self.ray, torch.where(self.radius.isfinite(), eps, 0.0), ball)

    def take(self, rows: Tensor) -> _Rays:
        """Return the search of some rows."""
        return _Rays(*(getattr(self, field.name)[rows] for field in fields(self)))

    def _points(self, ray: Tensor, at: Tensor, ball: Ball) -> Tensor:
        assert ball.range is not None
        return (self.x + (at[:, None] * ray).view_as(self.x)).clamp_(*ball.range)

    def _span(self) -> tuple[Tensor, Tensor]:
        """Return where each row's block begins and ends, (R,) each."""
        size = -(-self.ray.shape[1] // 2**self.level)
        return self.block * size, (self.block + 1) * size

    def _flipped(self) -> Tensor:
        begin, end = self._span()
        cell = torch.arange(self.ray.shape[1], device=self.ray.device)
        return torch.where((cell >= begin[:, None]) & (cell < end[:, None]), -self.ray, self.ray)
