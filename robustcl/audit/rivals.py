"""C6 to C9: attacks that see no gradients must not find what gradient attacks missed."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor

from robustcl.audit.arms import Arm
from robustcl.audit.bench import Bench, count, percent
from robustcl.audit.chance import beyond
from robustcl.audit.values import Finding, Verdict
from robustcl.evaluate.classifier import Classifier
from robustcl.evaluate.unstopped import Unstopped, adversaries

Surrogate = tuple[str, Classifier]
"""Another model for the same task, with its name."""

_ROWS = 2000

_GIVE = "robustcl audit takes another model of the same task by --surrogate, a RUN or module:function"


def black_box(bench: Bench) -> Finding:
    """C6: random search breaks no sample that gradients cannot break."""
    arm = bench.effort.black_box
    if reason := bench.missing(arm):
        return bench.finding("C6", "not run", reason)
    broken = bench.strike(arm, ~bench.white)
    return _compared(bench, "C6", broken, f"{arm.label} alone broke", arm)


def noise(bench: Bench) -> Finding:
    """C7: no noise within the ball breaks what gradients cannot break."""
    draws = bench.effort.noise
    broken, rows = torch.zeros_like(bench.correct), (bench.correct & ~bench.white).nonzero()[:, 0]
    at_once = max(_ROWS // max(len(rows), 1), 1)
    for start in range(0, draws if len(rows) else 0, at_once):
        times = min(at_once, draws - start)
        many = rows.repeat_interleave(times)
        draw = torch.arange(start, start + times, device=rows.device).repeat(len(rows))
        rng = bench.rng.child("noise").for_rows(bench.index[many] * draws + draw)
        fooled = bench.predict(bench.ball.sample(bench.x[many], rng)) != bench.label[many]
        broken[rows] |= fooled.view(len(rows), times).any(1)
    bench.fallen["noise"] = broken
    return _compared(bench, "C7", broken, f"{draws} draws for each of {count(len(rows))} alone broke")


def hard_label(bench: Bench) -> Finding:
    """C8: a search that sees nothing but the predicted class."""
    arm = bench.effort.hard_label
    if arm is None:
        return bench.finding("C8", "not run", "part of the deep audit: --deep")
    if reason := bench.missing(arm):
        return bench.finding("C8", "not run", reason)
    broken = bench.strike(arm, ~bench.white)
    return _compared(bench, "C8", broken, f"{arm.label} alone broke", arm)


def transfer(bench: Bench, surrogates: tuple[Surrogate, ...]) -> Finding:
    """C9: adversarial images of another model break no sample that the model's own gradients cannot break.

    The other model is attacked to the end, also where it is wrong from the start or fooled on the way: images that stop
    at its own boundary reach nobody else.
    """
    arm = bench.effort.iterative
    if not surrogates:
        return bench.finding("C9", "not run", f"not checked: {_GIVE}")
    broken, members = torch.zeros_like(bench.correct), arm.members(bench.classes, bench.ball)
    for number, (_, classifier) in enumerate(surrogates):
        other = Unstopped(classifier, bench.ball, bench.rng, nullcontext)
        for part in bench.blocks(bench.correct & ~bench.white):
            x, label, index = bench.x[part], bench.label[part], bench.index[part]
            moved = adversaries(other, x, label, index, f"transfer {number}", members)
            broken[part] |= bench.classifier.predict(moved) != label
    names = ", ".join(name for name, _ in surrogates)
    bench.fallen["transfer"] = broken
    return _compared(bench, "C9", broken, f"{arm.label} on {names} alone broke", arm)


def _compared(bench: Bench, code: str, broken: Tensor, said: str, *arms: Arm) -> Finding:
    """Give gradients a second chance at what a rival broke; what they still cannot break counts."""
    disputed = broken & ~bench.white
    first = int(disputed.sum())
    tried = []
    if bench.flat is None:
        for arm in bench.effort.second:
            if bool(disputed.any()) and bench.missing(arm) is None:
                disputed = disputed & ~bench.strike(arm, disputed)
                tried.append(arm)
    left = int(disputed.sum())
    said = f"{said} {count(first)}"
    if first:
        said += f", {left} of which no gradient attack breaks ({percent(left / bench.n)})"
    verdict: Verdict = "fail" if beyond(left, bench.n) else "warn" if left else "pass"
    return bench.finding(code, verdict, said, disputed, *arms, *tried)
