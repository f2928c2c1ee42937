"""C1, C2, C3 and C10: whether more effort of the gradient attack still finds more."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from robustcl import search
from robustcl.audit.bench import Bench, count, percent
from robustcl.audit.chance import ALPHA, mcnemar, say_overstatement
from robustcl.audit.values import Finding, Verdict
from robustcl.evaluate.classifier import LOGITS

_POINT = 0.005
"""Half a point: below this, more effort has changed nothing."""

_STEPS = 20


def iterative(bench: Bench) -> Finding:
    """C1: twenty steps do at least as much harm as one."""
    single, several = bench.effort.single, bench.effort.iterative
    once, often = bench.strike(single), bench.strike(several)
    alone, gained = once & ~often, often & ~once
    chance = mcnemar(int(alone.sum()), int(gained.sum()))
    said = f"{several.label} leaves {percent(bench.accuracy(often))}, {single.label} {percent(bench.accuracy(once))}"
    said += f"; {single.label} alone broke {count(int(alone.sum()))}, {several.label} alone {int(gained.sum())}"
    verdict: Verdict = "fail" if chance < ALPHA else "pass"
    return bench.finding("C1", verdict, said, alone, single, several)


def steps(bench: Bench) -> Finding:
    """C2: doubling the steps changes nothing; what the loss still gains in the last ten is told."""
    short, long = bench.effort.iterative, bench.effort.longer
    before = bench.white.clone()
    gained = bench.strike(long, ~before)
    said = f"{long.label} broke {count(int(gained.sum()))} that {short.label} did not; "
    said += _slope(bench, bench.correct & ~before)
    return bench.finding("C2", _more(bench, gained), said, gained, short, long)


def restarts(bench: Bench) -> Finding:
    """C3: more random starts change nothing."""
    arm = bench.effort.restarts
    gained = bench.strike(arm, ~bench.white)
    said = f"{arm.label} broke {count(int(gained.sum()))} more, of {bench.n}"
    return bench.finding("C3", _more(bench, gained), said, gained, arm)


def aim_attacks(bench: Bench) -> Finding:
    """C10: an attack toward each likely class, on a loss free of the logits' scale."""
    arm = bench.effort.targeted
    if reason := bench.missing(arm):
        return bench.finding("C10", "not run", reason)
    gained = bench.strike(arm, ~bench.white) & bench.stood
    against = "the reported attack" if bench.reported else f"untargeted {bench.effort.iterative.use}"
    said = f"{arm.label} broke {count(int(gained.sum()))} that {against} did not"
    verdict = say_overstatement(gained, bench.judged)
    if verdict == "pass":
        return bench.finding("C10", "report", said, gained, arm)
    return bench.finding("C10", verdict, f"{said}: a number from it alone overstates robustness", gained, arm)


def _more(bench: Bench, gained: Tensor) -> Verdict:
    found = int(gained.sum())
    return "warn" if found >= 2 and found > _POINT * bench.n else "pass"


def _slope(bench: Bench, rows: Tensor) -> str:
    """Say how much of its rise the loss of the samples that stand still owes to the last ten of twenty steps."""
    places = rows.nonzero()[:, 0][: bench.block]
    if len(places) == 0:
        return "no sample stands whose loss could still rise"
    x, label, curve = bench.x[places], bench.label[places], []

    def objective(candidates: Tensor) -> Tensor:
        logits = bench.classifier.embed(candidates, LOGITS).logits.float()
        loss = F.cross_entropy(logits, label, reduction="none")
        curve.append(float(loss.detach().mean()))
        return loss

    size = float(bench.ball.eps) / 4
    with bench.classifier.attacked():
        search.ascend(x, objective, bench.ball, steps=_STEPS + 1, step_size=size, rng=bench.rng, start="none")
    rise = curve[_STEPS] - curve[0]
    late = (curve[_STEPS] - curve[_STEPS - 10]) / rise if rise > 0 else 0.0
    return f"where it failed, the last 10 of {_STEPS} steps brought {percent(late)} of the loss's rise"
