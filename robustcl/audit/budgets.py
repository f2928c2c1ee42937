"""C4 and C5: a larger budget does more harm, and a budget without a bound leaves nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from robustcl.audit.bench import Bench, count, percent
from robustcl.audit.chance import ALPHA, above, mcnemar
from robustcl.audit.values import Finding, Verdict
from robustcl.threat import Ball

_STRAY = 0.02
"""Share of the samples that may stand in a larger ball by bad luck of the search."""


def sweep(bench: Bench) -> Finding:
    """C4: accuracy falls with eps, sample by sample: a larger ball holds whatever a smaller one held.

    Each ball is attacked on its own, so that nothing is handed on. A few samples may stand in a larger ball and fall
    in a smaller one, because no search is perfect. That the accuracy *rises* beyond chance is a failure.
    """
    arm = bench.effort.iterative
    balls = {times: _ball(bench, times * float(bench.ball.eps)) for times in bench.effort.sweep}
    broken = {times: bench.strike(arm, ball=ball) for times, ball in balls.items()}
    pairs = list(zip(broken.values(), list(broken.values())[1:], strict=False))
    strays = torch.stack([small & ~large for small, large in pairs]).any(0)
    rises = [mcnemar(int((small & ~large).sum()), int((large & ~small).sum())) for small, large in pairs]
    curve = ", ".join(f"{percent(bench.accuracy(each))} at {times:g} eps" for times, each in broken.items())
    said = f"{curve}; {count(int(strays.sum()))} fell in a smaller ball and stood in the next larger"
    if min(rises) < ALPHA / len(rises):
        return bench.finding("C4", "fail", f"{said}: the attack gets weaker as it gets room", strays, arm)
    verdict: Verdict = "warn" if int(strays.sum()) > max(_STRAY * bench.n, 1) else "pass"
    return bench.finding("C4", verdict, said, strays, arm)


def lift_bounds(bench: Bench) -> Finding:
    """C5: where any image may become any other, no more than chance is left; an attack that works leaves nothing."""
    arm = bench.effort.unbounded
    left = bench.correct.clone()
    radii = [share * _radius(bench) for share in (0.5, 1.0)]
    for radius in radii:
        left &= ~bench.strike(arm, left, _ball(bench, radius))
    standing, chance = int(left.sum()), 1.0 / bench.classes
    said = f"{arm.label} with eps up to {radii[-1]:.3g} leaves {count(standing, bench.n)}, chance is {percent(chance)}"
    if above(standing, bench.n, chance):
        return bench.finding("C5", "fail", f"{said}: the attack does not work on this model", left, arm)
    verdict: Verdict = "warn" if standing >= 2 and standing > 0.01 * bench.n else "pass"
    return bench.finding("C5", verdict, said, left, arm)


def _ball(bench: Bench, eps: float) -> Ball:
    return replace(bench.ball, eps=min(eps, _radius(bench)))


def _radius(bench: Bench) -> float:
    """Return the eps within which every image lies in the ball of every other."""
    low, high = bench.ball.range or (float(bench.x.min()), float(bench.x.max()))
    corner = torch.full_like(bench.x[:1], high), torch.full_like(bench.x[:1], low)
    radius = float(bench.ball.distance(*corner)[0])
    return radius if math.isfinite(radius) and radius > 0 else 1.0
