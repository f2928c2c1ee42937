"""The fast adaptive boundary attack: the nearest point where the prediction changes, not the largest loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import ClassVar

import torch
from torch import Tensor

from robustcl import gradients, search
from robustcl.errors import UsageError
from robustcl.options import Class, Count, Fraction, Positive
from robustcl.protocols import Need
from robustcl.rng import drawing
from robustcl.threat import Ball
from robustcl.types import Attack, Embedding
from robustcl_plugins.generators import hyperplane
from robustcl_plugins.generators.margin import target_count


class FAB:
    """Walks to the boundary toward each target class and back to x, and keeps the nearest point that was wrong.

    Each step linearises the difference of two logits and goes to the boundary so found, from the iterate and, by a
    share, from x; after a wrong point the walk goes on closer to x. A row returns the nearest wrong point if that
    lies in the ball, else x itself. A row that is wrong at x returns x. At evaluation a row ends at its first wrong
    point in the ball, which the judge confirms; elsewhere all targets are tried for the nearest one. All passes are in
    the model's own precision.

    targets: how many wrong classes, attacked in turn, the most likely first; left out nine, or all where there are
    fewer. steps: linearisations for each target. restarts: rounds over the targets; the first starts at x, the others
    at half the distance known or half of eps. alpha_max: the largest share of the step from x. eta: how far past the
    boundary; 1 is onto it. beta: where the walk goes on after a wrong point, 0 is x and 1 the point. As in AutoAttack
    there is no final search. target: at evaluation, the one class to reach: "wrong" then means predicted as that class,
    and the boundary is that of its region, z_t against the largest other logit.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PREDICTIONS, Need.LABELS})
    lockstep: ClassVar[bool] = False
    citation: ClassVar[str] = (
        "Croce and Hein, Minimally distorted Adversarial Examples with a Fast Adaptive Boundary Attack, ICML 2020,"
        " algorithm 1; targeted as in Croce and Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble"
        " of Diverse Parameter-free Attacks, ICML 2020, section 5"
    )

    def __init__(
        self,
        *,
        steps: Count = 100,
        restarts: Count = 1,
        targets: Count | None = None,
        alpha_max: Fraction = 0.1,
        eta: Positive = 1.05,
        beta: Fraction = 0.9,
        target: Class | None = None,
    ) -> None:
        if target is not None and targets is not None:
            raise ValueError("target names the one class to reach, targets a number of them: leave one out")
        self.steps = steps
        self.restarts = restarts
        self.targets = targets
        self.alpha_max = alpha_max
        self.eta = eta
        self.beta = beta
        self.target = target

    def check_threat(self, classes: int, ball: Ball, who: str) -> None:
        """Raise ``UsageError`` for more targets than there are wrong classes."""
        target_count(self.targets, classes, who)

    def defaults(self, classes: int, ball: Ball) -> Mapping[str, int]:
        """Return the number of targets where neither that nor the class to reach was given."""
        open_ = self.targets is None and self.target is None
        return {"targets": target_count(None, classes, "fab")} if open_ else {}

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        # Half precision moves the boundary: of what falls here, an eighth and more would be missed.
        with torch.autocast(x.device.type, enabled=False):
            return self._perturb(x.detach(), attack)

    def _perturb(self, x: Tensor, attack: Attack) -> Tensor:
        clean = attack.clean()
        sound = clean.logits.isfinite().all(1)
        found = _Found(x, attack, done=search.confirm(attack, x, _wrong(clean, attack)) | ~sound)
        likely = _wide(clean.logits.detach()).scatter(1, attack.label[:, None], -torch.inf)
        if attack.has("target") and self.targets is not None:
            raise UsageError(f"fab: targets = {self.targets} and a target: leave one out")
        targets = attack.target[:, None] if attack.has("target") else self.aims(likely)
        for restart in range(self.restarts):
            for place in range(targets.shape[1]):
                rows = (~found.done).nonzero()[:, 0]
                start = found.halfway(rows, restart, place) if restart > 0 else x[rows]
                self._walk(_Walk.from_start(rows, start, targets[rows, place]), found)
        return found.nearest

    def aims(self, likely: Tensor) -> Tensor:
        """Return the classes (R, T) that are walked to in turn, of logits (R, L) in which the label's is -inf."""
        count = target_count(self.targets, likely.shape[1], "fab")
        return likely.argsort(stable=True, dim=1, descending=True)[:, :count]

    def boundary(
        self, logits: Tensor, leaf: Tensor, label: Tensor, target: Tensor, norm: str, places: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return z_t - z_y (R,) at ``leaf`` (R, *item), and its gradient there (R, *item).

        Where a class is to be reached, the strongest rival of that class takes the place of the label.
        """
        value = (logits.gather(1, target[:, None]) - logits.gather(1, label[:, None]))[:, 0]
        return value, gradients.toward(value, leaf, places)

    def _walk(self, walk: _Walk, found: _Found) -> None:
        """Take all steps toward one target for each row.

        A point is judged by the forward pass that also gives its gradient, except where that gradient is not wanted:
        at the last point, and where the last one was wrong, as the next will be.
        """
        while len(walk.rows):
            self._settle(walk, found)
            over = found.done[walk.rows] | (walk.judged & (walk.count == self.steps))
            walk = walk.take((~over).nonzero()[:, 0])
            if len(walk.rows):
                walk = self._advance(walk, found)

    def _settle(self, walk: _Walk, found: _Found) -> None:
        """Judge the points whose gradient is not wanted.

        One outside the ball is not looked at: it cannot be returned, and after a wrong one it is taken as wrong too.
        """
        ball, last = found.attack.ball.take(walk.rows), walk.count == self.steps
        unwanted = ~walk.judged & (walk.wrong | last)
        inside = ball.distance(walk.points, found.x[walk.rows]) <= ball.eps
        assumed = (unwanted & ~inside).nonzero()[:, 0]
        self._decide(walk, assumed, walk.wrong[assumed], found)
        asked = (unwanted & inside).nonzero()[:, 0]
        if len(asked):
            with torch.no_grad():
                embedding = found.attack.take(walk.rows[asked]).encode(walk.points[asked])
            self._decide(walk, asked, found.judge(walk.rows[asked], walk.points[asked], embedding), found)

    def _decide(self, walk: _Walk, chosen: Tensor, wrong: Tensor, found: _Found) -> None:
        """Note a verdict for some of the walk's points, and go back toward x from the wrong ones."""
        points, origin = walk.points[chosen], found.x[walk.rows[chosen]]
        back = torch.where(_column(wrong, points), origin + self.beta * (points - origin), points)
        walk.points = walk.points.index_copy(0, chosen, back)
        walk.judged = walk.judged.index_fill(0, chosen, True)
        walk.wrong = walk.wrong.index_copy(0, chosen, wrong)

    def _advance(self, walk: _Walk, found: _Found) -> _Walk:
        """Step from the points that were judged and from those now seen to be right; return rows that can move."""
        attack, judged = found.attack.take(walk.rows), walk.judged
        with torch.enable_grad():
            leaf = walk.points.detach().requires_grad_()
            embedding = attack.encode(leaf)
            logits = _wide(embedding.logits)
            rival = _strongest(logits, walk.target) if attack.has("target") else attack.label
            value, slope = self.boundary(logits, leaf, rival, walk.target, attack.ball.norm, attack.places)
        value, fresh = value.detach(), (~judged).nonzero()[:, 0]
        verdict = found.judge(walk.rows[fresh], walk.points[fresh], embedding.detach().take(fresh))
        self._decide(walk, fresh, verdict, found)
        due = judged | ~walk.wrong
        steered = value.isfinite() & slope.isfinite().flatten(1).all(1) & (slope != 0.0).flatten(1).any(1)
        stepping = (due & steered).nonzero()[:, 0]
        self._step(walk, stepping, value[stepping], slope[stepping], found)
        return walk.take((steered | ~due).nonzero()[:, 0])

    def _step(self, walk: _Walk, stepping: Tensor, value: Tensor, slope: Tensor, found: _Found) -> None:
        """Go past the linearised boundary from some points, biased toward where x would meet it (equation 9).

        Where that boundary lies beyond the wrong point that a row came back from, the next point may well be right.
        """
        points, origin = walk.points[stepping], found.x[walk.rows[stepping]]
        ball = found.attack.ball.take(walk.rows[stepping])
        at_origin = value + (slope.double() * (origin - points).double()).flatten(1).sum(1)
        moves = hyperplane.shortest_move(
            torch.cat([points, origin]),
            torch.cat([slope, slope]),
            torch.cat([value.double(), at_origin]),
            ball.norm,
            ball.range,
        )
        move, home = moves.chunk(2)
        here = torch.zeros_like(points)
        length, length_home = ball.distance(move, here), ball.distance(home, here)
        share = length / (length + length_home).clamp(min=torch.finfo(length.dtype).tiny)
        alpha = _column(share.clamp(max=self.alpha_max), points)
        moved = (1.0 - alpha) * (points + self.eta * move) + alpha * (origin + self.eta * home)
        moved = moved.to(points.dtype)  # lengths of half precision are of single
        beyond = self.beta * length > (1.0 - self.beta) * ball.distance(points, origin)
        walk.points = walk.points.index_copy(0, stepping, moved if ball.range is None else moved.clamp(*ball.range))
        walk.count = walk.count.index_add(0, stepping, torch.ones_like(stepping))
        walk.judged = walk.judged.index_fill(0, stepping, False)
        walk.wrong = walk.wrong.index_copy(0, stepping, walk.wrong[stepping] & ~beyond)


@dataclass(slots=True)
class _Walk:
    """The rows on their way to one target each; ``wrong`` is the verdict on a judged point, else what to expect."""

    rows: Tensor
    points: Tensor
    target: Tensor
    judged: Tensor
    wrong: Tensor
    count: Tensor

    @classmethod
    def from_start(cls, rows: Tensor, points: Tensor, target: Tensor) -> _Walk:
        judged = torch.ones_like(rows, dtype=torch.bool)
        return cls(rows, points, target, judged, ~judged, torch.zeros_like(rows))

    def take(self, chosen: Tensor) -> _Walk:
        return _Walk(*(getattr(self, part.name)[chosen] for part in fields(self)))


class _Found:
    """The nearest wrong point of each row so far: x at distance infinity until there is one in the ball."""

    def __init__(self, x: Tensor, attack: Attack, done: Tensor) -> None:
        self.x, self.attack, self.done = x, attack, done
        self.nearest = x.clone()
        self.distance = torch.full((len(x),), torch.inf, dtype=drawing(x.dtype), device=x.device)

    def judge(self, rows: Tensor, points: Tensor, embedding: Embedding) -> Tensor:
        """Return which points (S, *item) are wrong, (S,) bool, and keep those that are in the ball and nearer."""
        attack, ball = self.attack.take(rows), self.attack.ball.take(rows)
        wrong = _wrong(embedding, attack)
        distance = ball.distance(points, self.x[rows])
        near = (wrong & (distance <= ball.eps) & (distance < self.distance[rows])).nonzero()[:, 0]
        if len(near) and attack.has("breaks"):
            confirmed = attack.take(near).breaks(points[near])
            wrong, near = wrong.index_copy(0, near, confirmed), near[confirmed]
        self.nearest[rows[near]] = points[near]
        self.distance[rows[near]] = distance[near]
        if attack.has("fooled"):
            self.done[rows[near]] = True
        return wrong

    def halfway(self, rows: Tensor, restart: int, place: int) -> Tensor:
        """Draw starts at half the nearest distance or half of eps, whichever is less, cut by the range."""
        x, ball = self.x[rows], self.attack.ball.take(rows)
        rng = self.attack.rng.child("restart", restart, place).take(rows)
        direction = replace(ball, eps=1.0, range=None).sample(torch.zeros_like(x), rng)
        length = ball.distance(direction, torch.zeros_like(x)).clamp(min=torch.finfo(x.dtype).tiny)
        radius = self.distance[rows].clamp(max=ball.eps) / 2.0
        start = x + (direction * _column(radius / length, x)).to(x.dtype)
        return start if ball.range is None else start.clamp_(*ball.range)


def _wrong(embedding: Embedding, attack: Attack) -> Tensor:
    """Say which rows are classified as something else, (R,) bool; logits that are not finite say nothing."""
    logits = embedding.logits.detach()
    if attack.has("fooled"):
        wrong = attack.fooled(embedding)
    elif attack.has("target"):
        wrong = logits.argmax(1) == attack.target
    else:
        wrong = logits.argmax(1) != attack.label
    return wrong & logits.isfinite().all(1)


def _strongest(logits: Tensor, target: Tensor) -> Tensor:
    """Return the class (R,) of the largest logit beside the target's."""
    return logits.detach().scatter(1, target[:, None], -torch.inf).argmax(1)


def _wide(logits: Tensor) -> Tensor:
    return logits.float() if logits.itemsize < 4 else logits


def _column(value: Tensor, like: Tensor) -> Tensor:
    """Shape one number per row so that it multiplies (R, *item)."""
    return value.reshape(-1, *[1] * (like.dim() - 1))
