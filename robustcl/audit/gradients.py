"""C14: whether the model's gradients are there, alive, and those of the function itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from robustcl.audit import slopes
from robustcl.audit.bench import Bench, count, percent
from robustcl.audit.slopes import Slopes
from robustcl.audit.values import Finding, Verdict
from robustcl.errors import UsageError

DEAD = 0.05
"""A gradient that is nothing for more than this share of the samples is no accident."""

WEAK = 1e-3
"""Where moving every value through its range would change the margin by less than this share, gradients vanish."""

LIAR = 0.5
"""Where half of what a gradient says is wrong for the median sample, it is not the function's."""

USELESS = 0.1
"""A step within the ball brings at least this share of the fall that the gradient promises (median sample)."""

UNDERSTATED = 10.0
"""It brings at most so many times that fall: else most of the function has no gradient."""

JUMPY = 0.5
"""Above this ratio of changes on short and long ways (median sample), the function jumps; 1/4 is continuous."""

_SATURATED = 0.5
_SAMPLES = 128

_Fault = tuple[Verdict, str, Tensor]
"""Verdict, evidence, and the samples in question (R,) bool."""


def check_gradients(bench: Bench) -> Finding:
    """Hold gradients against nothing, zero, NaN, a second pass, finite differences, and steps in the ball."""
    rows = bench.correct.nonzero()[:, 0][:_SAMPLES]
    if len(rows) == 0:
        return bench.finding("C14", "not run", "no sample is classified rightly")
    try:
        at = slopes.measure_slopes(bench, rows)
    except (RuntimeError, UsageError) as error:
        bench.flat = "the model gives no gradient (C14)"
        said = f"no gradient reaches the input, something on the way cuts the graph ({str(error).splitlines()[0]})"
        return bench.finding("C14", "fail", said, bench.correct)
    warned: _Fault | None = None
    for look in _LOOKS:
        fault = look(bench, at)
        if fault is not None and fault[0] == "fail":
            return bench.finding("C14", "fail", fault[1], _mask(bench, rows, fault[2]))
        warned = warned or fault
    if warned is not None:
        return bench.finding("C14", "warn", warned[1], _mask(bench, rows, warned[2]))
    wrong, reached = slopes.local_error(bench, at).median(), slopes.share_kept(bench, at).median()
    said = f"finite differences agree up to {percent(float(wrong))}, and a step brings "
    return bench.finding("C14", "pass", said + f"{percent(float(reached))} of what gradients promise (medians)")


def _finite(bench: Bench, at: Slopes) -> _Fault | None:
    broken = ~(at.loss.isfinite().all(1) & at.margin.isfinite().all(1))
    if not bool(broken.any()):
        return None
    return "fail", f"{count(int(broken.sum()), len(broken))} have a gradient that is NaN or infinite", broken


def _alive(bench: Bench, at: Slopes) -> _Fault | None:
    flat, dead = (at.margin == 0).all(1), (at.loss == 0).all(1) | (at.margin == 0).all(1)
    if not bool(dead.any()):
        return None
    said = f"the gradient of the cross-entropy is exactly 0 for {count(int(dead.sum()), len(dead))}"
    if not bool(flat.any()):
        said += ": logits saturate, attack the margin or the DLR loss"
    return "fail" if _share(dead) > DEAD else "warn", said, dead


def _strong(bench: Bench, at: Slopes) -> _Fault | None:
    weak = slopes.reach(bench, at) < WEAK
    if _share(weak) <= DEAD:
        return None
    said = f"gradients vanish for {count(int(weak.sum()), len(weak))}: they say that no move could change the verdict"
    return "fail", said, weak


def _repeatable(bench: Bench, at: Slopes) -> _Fault | None:
    again = slopes.measure_slopes(bench, at.rows).margin
    turned = F.cosine_similarity(_scaled(again), _scaled(at.margin)) < 0.99
    if _share(turned) <= DEAD:
        return None
    said = f"{count(int(turned.sum()), len(turned))} get another gradient in a second pass: average over many"
    return "fail", said, turned


def _true(bench: Bench, at: Slopes) -> _Fault | None:
    error = slopes.local_error(bench, at)
    if float(error.median()) <= LIAR:
        return None
    said = f"finite differences contradict gradients by {percent(float(error.median()))} (median): the backward pass"
    return "fail", f"{said} is not that of the function, or the function is made of steps", error > LIAR


def _useful(bench: Bench, at: Slopes) -> _Fault | None:
    ratio = slopes.share_kept(bench, at)
    middle = float(ratio.median())
    if USELESS <= middle <= UNDERSTATED:
        return None
    said = f"a step in the ball brings {percent(middle)} (median) of the fall of the margin that gradients promise"
    if middle < USELESS:
        return "fail", f"{said}: they are local noise", ratio < USELESS
    return "fail", f"{said}: most of the function has no gradient", ratio > UNDERSTATED


def _continuous(bench: Bench, at: Slopes) -> _Fault | None:
    ratio = slopes.jumps(bench, at)
    if float(ratio.median()) <= JUMPY:
        return None
    said = f"the margin jumps: on 1/32 of the way across the ball it moves by {percent(float(ratio.median()))} (median)"
    return "fail", f"{said} of what it moves on 1/8, where a continuous function has about 25 %", ratio > JUMPY


def _unsaturated(bench: Bench, at: Slopes) -> _Fault | None:
    if _share(at.saturated) <= _SATURATED:
        return None
    said = f"the softmax is exactly 1 in float32 for {percent(_share(at.saturated))} of the samples"
    return "warn", f"{said}: attack the margin or the DLR loss too", at.saturated


_LOOKS: Sequence[Callable[[Bench, Slopes], _Fault | None]] = (
    _finite, _alive, _strong, _repeatable, _true, _useful, _continuous, _unsaturated,
)  # fmt: skip


def _share(where: Tensor) -> float:
    return float(where.double().mean())


def _scaled(gradient: Tensor) -> Tensor:
    """Keep squares of tiny gradients from vanishing."""
    return gradient / gradient.abs().amax(1, keepdim=True).clamp(min=torch.finfo(gradient.dtype).tiny)


def _mask(bench: Bench, rows: Tensor, where: Tensor) -> Tensor:
    mask = torch.zeros_like(bench.correct)
    mask[rows[where]] = True
    return mask
