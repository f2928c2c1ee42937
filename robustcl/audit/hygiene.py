"""What must hold before an attack means anything: logits, no traces, own rows, units; and no randomness (C13)."""

from __future__ import annotations

import torch
from torch import Tensor

from robustcl.audit.bench import Bench, count
from robustcl.audit.values import Finding
from robustcl.evaluate.soundness import probabilities
from robustcl.nn.traces import Traces

_SAME = 1e-3
"""Rows of another batch agree up to this share of the logits' spread: sums in another order, TF32."""

_LEVEL = 0.25 / 255
"""A quarter of a grey level, as a share of the range."""

_NOISE = 1e-5
"""Below this share of the logits' spread a difference between two passes is the machine's, if no verdict turns."""


def logits(bench: Bench) -> Finding:
    """H1: outputs are logits, finite, of two classes or more."""
    finite = bench.logits.isfinite().all(1)
    if not bool(finite.all()):
        said = f"{count(int((~finite).sum()), bench.n)} have logits that are NaN or infinite: they have no verdict"
        return bench.finding("H1", "fail", said, ~finite)
    if bench.classes < 2:
        return bench.finding("H1", "fail", "it has one output, and a classifier has two or more")
    if probabilities(bench.logits):
        said = "its outputs are probabilities, whose gradients vanish as they saturate: leave the softmax out"
        return bench.finding("H1", "fail", said)
    spread = float(bench.logits.max() - bench.logits.min())
    return bench.finding("H1", "pass", f"{bench.classes} finite outputs, spread over {spread:.3g}")


def traces(bench: Bench) -> Finding:
    """H2: a forward pass leaves parameters, buffers and modes as they were."""
    before = Traces([bench.classifier.module], randomness=False)
    bench.forward(bench.x[: bench.block])
    found = list(before.found())
    if found:
        bench.blocked = bench.blocked or "the model changes whenever it is looked at (H2)"
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        said = f"in a forward pass {found[0]}{more}: hold it in eval mode, or each attack judges another model"
        return bench.finding("H2", "fail", said)
    return bench.finding("H2", "pass", "parameters, buffers and modes are the same after a forward pass")


def own_rows(bench: Bench) -> Finding:
    """H3: what the model says of a sample does not depend on its neighbours in the batch."""
    if _differ(bench.forward(bench.x), bench.logits, 0.0).any():
        return bench.finding("H3", "not run", "two equal passes differ already (C13)")
    half = bench.x[::2]
    other = bench.forward(half.flip(0)).flip(0)
    moved = torch.zeros_like(bench.correct)
    moved[::2] = _differ(other, bench.logits[::2], _SAME)
    few = bench.x[:4]
    alone = torch.cat([bench.forward(row[None]) for row in few])
    moved[:4] |= _differ(alone, bench.logits[:4], _SAME)
    looked = len(half) + len(few) // 2
    # A row at a discontinuity of the model may move by rounding alone.
    if int(moved.sum()) > 0.05 * looked:
        said = f"{count(int(moved.sum()), looked)} get other logits in another batch: batch statistics are in use"
        return bench.finding("H3", "fail", said + "; put the model in eval mode", moved)
    return bench.finding("H3", "pass", f"{count(looked)} keep their logits in other batches, and alone")


def units(bench: Bench) -> Finding:
    """H4: inputs are pixels in the threat's range, and eps is a length in the same units."""
    low, high = float(bench.x.min()), float(bench.x.max())
    eps, valid = float(bench.ball.eps), bench.ball.range
    span, deviation = f"inputs span {low:.3g} .. {high:.3g}", float(bench.x.std())
    if valid is not None and (low < valid[0] or high > valid[1]):
        rows = ((bench.x < valid[0]) | (bench.x > valid[1])).flatten(1).any(1)
        said = f"{span} outside the threat's {valid[0]:g} .. {valid[1]:g}: normalisation belongs inside the model"
        bench.blocked = bench.blocked or "inputs lie outside the threat's range (H4)"
        return bench.finding("H4", "fail", said, rows)
    if low < 0.0:
        said = (
            f"{span}, which are normalised values, not pixels from 0 on: eps {eps:.4g} is "
            f"{eps / max(high - low, 1e-12):.2g} of their span; put normalisation inside the model and state eps in "
            "pixels"
        )
        return bench.finding("H4", "fail", said)
    if valid is None:
        said = f"the threat has no range, so attacks may leave the images' {low:.3g} .. {high:.3g}"
        return bench.finding("H4", "warn", said)
    if high - low < 0.5 * (valid[1] - valid[0]):
        said = f"{span}, less than half of the range {valid[0]:g} .. {valid[1]:g}: check how they were scaled"
        return bench.finding("H4", "warn", said)
    if bench.ball.norm == "Linf" and eps < _LEVEL * (valid[1] - valid[0]):
        said = f"eps {eps:.4g} is less than a quarter of a grey level where the range is {valid[0]:g} .. {valid[1]:g}"
        return bench.finding("H4", "warn", f"{said}: was it stated for pixels in another range?")
    said = f"{span} within {valid[0]:g} .. {valid[1]:g}; eps {eps:.4g} is {eps / max(deviation, 1e-12):.2g}"
    return bench.finding("H4", "pass", said + " standard deviations of the pixels")


def randomness(bench: Bench) -> Finding:
    """C13: three passes over all samples agree in every bit."""
    before = Traces([bench.classifier.module], buffers=False)
    passes = [bench.forward(bench.x) for _ in range(3)]
    drawn = any("drew from" in trace for trace in before.found())
    loose = torch.stack([_differ(each, bench.logits, _NOISE) for each in passes]).any(0)
    turned = torch.stack([each.argmax(1) != bench.logits.argmax(1) for each in passes]).any(0)
    exact = all(bool(_same(each, bench.logits).all()) for each in passes)
    advice = "average gradients over many passes (eot = 20 of apgd) and judge with the randomness fixed"
    if drawn or (not exact and bool((loose | turned).any())):
        bench.blocked = bench.blocked or "the model draws at random (C13)"
        how = "a forward pass draws from a global random generator; " if drawn else ""
        said = f"{count(int(loose.sum()), bench.n)} get other logits in a second pass, {int(turned.sum())} a new class"
        return bench.finding("C13", "fail", f"{how}{said}: {advice}", loose | turned)
    if not exact:
        return bench.finding("C13", "warn", "passes differ in their last bits: the machine's kernels do")
    return bench.finding("C13", "pass", f"three passes over {count(bench.n)} agree in every bit")


def _same(one: Tensor, other: Tensor) -> Tensor:
    return (one == other) | (one.isnan() & other.isnan())


def _differ(one: Tensor, other: Tensor, share: float) -> Tensor:
    """Return the rows (R,) bool that differ by more than a share of the logits' spread."""
    finite = other[other.isfinite()]
    spread = float(finite.max() - finite.min()) if len(finite) else 0.0
    return (~_same(one, other) & ~((one - other).abs() <= share * spread)).any(1)
