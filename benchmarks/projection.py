"""The exact projections onto ball and range beside the usual formulas, at 250 x 3072 in float32, L2 and L1.

The peer in L2 is what torchattacks' PGDL2 computes after each step: the move is scaled to the ball, then clamped to the
range. torchattacks has no attack in L1; there it is the projection by sorting (Duchi et al., ICML 2008, figure 1), then
clamped. Where the range binds, these are not the nearest points, and ours are: the figures hold the distances.

Needs the peer, ``pip install --no-deps torchattacks``. ``python benchmarks/projection.py [--repeats N]``: exit code 1
where a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import torch
from _bar import compare, report, version
from torch import Tensor, nn

from robustcl.rng import Rng
from robustcl.threat import Ball

ROWS, ENTRIES, CALLS = 250, 3072, 5
EPS = {"L2": 0.5, "L1": 12.0}
BARS = {"free": 0.7, "near-the-ends": 0.2, "digits": 0.2}


def main(repeats: int) -> int:
    """Time both sides on inputs in the middle of the range, all over it, and like digits, most of them at its ends."""
    ratios, details = [], {}
    for norm, usual in (("L2", usual_l2), ("L1", usual_l1)):
        ball = Ball(norm, EPS[norm])
        for name, x, adv in inputs():
            theirs = lambda: [usual(adv, x, EPS[norm]) for _ in range(CALLS)]  # noqa: E731, B023
            ours, peer = compare(lambda: [ball.project(adv, x) for _ in range(CALLS)], theirs, repeats)  # noqa: B023
            ratios.append((f"{norm}-{name}-over-the-usual-formula", peer / ours, BARS[name]))
            details[f"{norm} {name}, milliseconds: ours, usual"] = [round(s / CALLS * 1e3, 2) for s in (ours, peer)]
            details[f"{norm} {name}, distance to adv: ours, usual"] = [
                round(float((point - adv).norm()), 6) for point in (ball.project(adv, x), usual(adv, x, EPS[norm]))
            ]
    details["peer"] = f"L2: the formula of torchattacks {version('torchattacks')}; L1: the projection by sorting"
    details["L2: largest difference to a step of torchattacks.PGDL2"] = difference()
    return report("projection", ratios, details)


def inputs() -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield (name, x, adv): moves of three radii or so, as a step of 2 eps makes them."""
    rng = Rng(0, "benchmark")
    x, move = rng.uniform((ROWS, ENTRIES)), 0.02 * rng.normal((ROWS, ENTRIES))
    ends = rng.uniform((ROWS, ENTRIES)) < 0.7
    for name, base in (("free", x / 2 + 0.25), ("near-the-ends", x), ("digits", torch.where(ends, x.round(), x))):
        yield name, base, base + move


def difference() -> float:
    """Return by how much the formula timed here differs from the peer's own attack, after one step from x."""
    import torchattacks

    torch.manual_seed(0)
    net, (_, x, _) = nn.Sequential(nn.Flatten(), nn.Linear(ENTRIES, 10)), next(inputs())
    image, label = x.view(ROWS, 3, 32, 32), torch.arange(ROWS) % 10
    attack = torchattacks.PGDL2(net, eps=EPS["L2"], alpha=1.0, steps=1, random_start=False)
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(nn.functional.cross_entropy(net(leaf), label), leaf)
    stepped = x + slope / (torch.norm(slope, dim=1, keepdim=True) + attack.eps_for_division)
    return float((attack(image, label).view(ROWS, -1) - usual_l2(stepped, x, EPS["L2"])).abs().max())


def usual_l2(adv: Tensor, x: Tensor, eps: float) -> Tensor:
    move = adv - x
    length = torch.norm(move.view(len(x), -1), p=2, dim=1)
    factor = torch.min(eps / length, torch.ones_like(length))
    return torch.clamp(x + move * factor.view(-1, 1), min=0, max=1)


def usual_l1(adv: Tensor, x: Tensor, eps: float) -> Tensor:
    move = adv - x
    size = move.abs()
    falling = size.sort(1, descending=True).values
    beyond = falling.cumsum(1) - eps
    place = torch.arange(1, size.shape[1] + 1, device=x.device)
    last = (falling * place > beyond).sum(1, keepdim=True)
    threshold = (beyond.gather(1, last - 1) / last).clamp(min=0)
    return torch.clamp(x + move.sign() * (size - threshold).clamp(min=0), min=0, max=1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    sys.exit(main(parser.parse_args().repeats))
