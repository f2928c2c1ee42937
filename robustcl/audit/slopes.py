"""What the model's gradients promise of some samples, and what the function does instead."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from robustcl.audit.bench import Bench
from robustcl.evaluate.classifier import LOGITS

_PIECES = 32
"""Pieces into which the way across the ball is cut, to look for jumps."""


@dataclass(frozen=True, slots=True)
class Slopes:
    """Of R correct samples, by their places on the bench: what one backward pass says.

    loss, margin: gradients (R, d) of the cross-entropy, and of the margin, the label's logit minus the strongest other
    one, ``rival`` (R,). value: the margin (R,). saturated (R,) bool: the softmax is exactly 1 in float32.
    """

    rows: Tensor
    loss: Tensor
    margin: Tensor
    value: Tensor
    rival: Tensor
    saturated: Tensor


def measure_slopes(bench: Bench, rows: Tensor) -> Slopes:
    """Differentiate at the samples in some places (R,) int64; raises ``RuntimeError`` where the graph is cut."""
    parts = [_of(bench, part) for part in torch.split(rows, bench.block)]
    return Slopes(*(torch.cat([getattr(part, name) for part in parts]) for name in Slopes.__slots__))


def local_error(bench: Bench, at: Slopes) -> Tensor:
    """Return |finite difference - gradient| / the larger of both, (R,), along the steepest direction.

    1 where the function is not finite on the way. Of three step sizes the one that agrees best in the median counts:
    small ones suffer from rounding, large ones from curvature and kinks.
    """
    errors = []
    for share in (1 / 64, 1 / 16, 1 / 4):
        size = share * float(bench.ball.eps)
        up, down = _moved(bench, at, size), _moved(bench, at, -size)
        promised = ((up - down).flatten(1) * at.margin).sum(1)
        found = margin(bench, up, at) - margin(bench, down, at)
        scale = torch.maximum(promised.abs(), found.abs())
        errors.append(torch.where(scale == 0, 0.0, (found - promised).abs() / scale).nan_to_num(nan=1.0))
    return min(errors, key=lambda error: float(error.median()))


def share_kept(bench: Bench, at: Slopes) -> Tensor:
    """Return how much of the promised fall of the margin one step brings, (R,).

    Of a step across the ball and one of a quarter of its size, the one that keeps more in the median counts.
    """
    x, ratios = bench.x[at.rows], []
    for share in (1 / 4, 1.0):
        away = _across(bench, at, share)
        promised = ((away - x).flatten(1) * at.margin).sum(1)
        fall = margin(bench, away, at) - at.value
        ratios.append(torch.where(promised < 0, fall / promised, 1.0).nan_to_num(nan=1.0))
    return max(ratios, key=lambda ratio: float(ratio.median()))


def jumps(bench: Bench, at: Slopes) -> Tensor:
    """Return the largest change of the margin over 1/32 of the way across the ball / that over 1/8, (R,).

    About 1/4 for a continuous function, whatever its kinks; 1 for one that jumps, because a jump stays as large as
    it is on the shorter way, and for one that is not finite there. 0 where the margin does not change at all.
    """
    x, away = bench.x[at.rows], _across(bench, at)
    way = torch.stack([margin(bench, x + (away - x) * (k / _PIECES), at) for k in range(_PIECES + 1)])
    fine, coarse = way.diff(dim=0).abs().amax(0), way[::4].diff(dim=0).abs().amax(0)
    return torch.where(fine == 0, 0.0, fine / torch.maximum(coarse, fine)).nan_to_num(nan=1.0)


def reach(bench: Bench, at: Slopes) -> Tensor:
    """Return by which share of itself the margin would change if every value moved through its range, (R,)."""
    low, high = bench.ball.range or (float(bench.x.min()), float(bench.x.max()))
    return (high - low) * at.margin.abs().sum(1) / at.value.abs().clamp(min=1e-30)


def margin(bench: Bench, x: Tensor, at: Slopes) -> Tensor:
    """Return the margins (R,) of other inputs over the same rivals."""
    return _margin(bench.forward(x), bench.label[at.rows], at.rival)


def _of(bench: Bench, rows: Tensor) -> Slopes:
    label = bench.label[rows]
    with torch.enable_grad(), bench.classifier.attacked():
        leaf = bench.x[rows].detach().clone().requires_grad_()
        logits = bench.classifier.embed(leaf, LOGITS).logits.float()
        rival = logits.detach().scatter(1, label[:, None], -torch.inf).argmax(1)
        value = _margin(logits, label, rival)
        (toward,) = torch.autograd.grad(F.cross_entropy(logits, label, reduction="sum"), leaf, retain_graph=True)
        (along,) = torch.autograd.grad(value.sum(), leaf)
    saturated = logits.detach().softmax(1).amax(1) == 1.0
    return Slopes(rows, toward.flatten(1), along.flatten(1), value.detach(), rival, saturated)


def _moved(bench: Bench, at: Slopes, size: float) -> Tensor:
    x = bench.x[at.rows]
    return bench.ball.ascend(x, at.margin.view_as(x) * (1.0 if size > 0 else -1.0), abs(size))


def _across(bench: Bench, at: Slopes, share: float = 1.0) -> Tensor:
    """Return the end of one step of a share of eps against the margin, within the range."""
    return bench.ball.project(_moved(bench, at, -share * float(bench.ball.eps)), bench.x[at.rows])


def _margin(logits: Tensor, label: Tensor, rival: Tensor) -> Tensor:
    return (logits.gather(1, label[:, None]) - logits.gather(1, rival[:, None]))[:, 0]
