"""``with robustcl.guard(model) as report``: after any library's attack on a raw model, the model is as it was."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from robustcl.errors import DataError, UsageError
from robustcl.nn.lazy import refuse_lazy
from robustcl.nn.snapshot import Snapshot
from robustcl.threat import Ball, Range, excess


class GuardWarning(UserWarning):
    """Something had to be put back after code that ran inside ``robustcl.guard``."""


class GuardReport:
    """What a guard found; ``found`` holds a sentence for each thing, filled when the block ends and by ``check``."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def check(
        self, x: Tensor, x_adv: Tensor, *, eps: float | str, norm: str = "Linf", range: Range = (0.0, 1.0)
    ) -> list[str]:
        """Return what is wrong with adversarial inputs x_adv (R, *item) of x, a sentence each; none if nothing is.

        Shape, type and device are those of x, values finite and in ``range``, rows within ``eps`` ("8/255") of x in
        ``norm``. The sentences join ``found``. Raises ``UsageError`` for a norm, eps or range that is none.
        """
        sentences = _faults(x, x_adv, Ball.checked(norm, eps, range))
        self.found.extend(sentences)
        return sentences

    def require(
        self, x: Tensor, x_adv: Tensor, *, eps: float | str, norm: str = "Linf", range: Range = (0.0, 1.0)
    ) -> None:
        """Raise ``DataError`` with everything that ``check`` finds."""
        sentences = self.check(x, x_adv, eps=eps, norm=norm, range=range)
        if sentences:
            raise DataError("; ".join(sentences))


@contextmanager
def guard(model: nn.Module, *, quiet: bool = False) -> Iterator[GuardReport]:
    """Put a model and the global random generators back when the block ends, also after an exception.

    Restored, and reported where they had changed: each submodule's training flag, buffers (so batch-norm statistics
    that passes in train mode have moved), parameters, ``requires_grad``, ``.grad``, and the states of torch's, NumPy's,
    Python's and CUDA's generators. Costs a copy of the model's tensors for the length of the block.

    Args:
        model: what the code inside can reach.
        quiet: leave out the ``GuardWarning`` that says how much had to be put back; ``report.found`` has it anyway.

    Raises:
        UsageError: the model is no ``torch.nn.Module``, or its lazy layers have no weights yet.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(f"robustcl.guard takes a torch.nn.Module, not a {type(model).__name__}")
    refuse_lazy(model)
    report, snapshot = GuardReport(), Snapshot(model)
    try:
        yield report
    finally:
        restored = snapshot.restore()
        report.found.extend(restored)
    if restored and not quiet:
        more = f", and {len(restored) - 1} more: see report.found" if len(restored) > 1 else ""
        warnings.warn(f"put back after the guarded code: {restored[0]}{more}", GuardWarning, stacklevel=3)


def _faults(x: Tensor, x_adv: Tensor, ball: Ball) -> list[str]:
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() < 2:
        said = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
        return [f"the inputs are {said}, not a floating-point tensor (R, *item): give x.float() in the range"]
    if not isinstance(x_adv, Tensor):
        return [f"the adversarial inputs are a {type(x_adv).__name__}, not a tensor"]
    for what in ("shape", "dtype", "device"):
        before, now = getattr(x, what), getattr(x_adv, what)
        if before != now:
            return [f"the adversarial inputs have the {what} {_plain(now)}, the inputs {_plain(before)}"]
    if len(x) == 0:
        return []
    x, x_adv = x.detach(), x_adv.detach()
    return [
        *_outside(x, ball, "inputs"),
        *_not_finite(x_adv),
        *_outside(x_adv, ball, "adversarial inputs"),
        *_too_far(x, x_adv, ball),
    ]


def _not_finite(x_adv: Tensor) -> Iterator[str]:
    broken = ~x_adv.isfinite().flatten(1).all(1)
    if bool(broken.any()):
        yield f"the adversarial inputs hold NaN or infinity in {_rows(broken)}"


def _outside(x: Tensor, ball: Ball, what: str) -> Iterator[str]:
    if ball.range is None:
        return
    low, high = ball.range
    broken = ((x < low) | (x > high)).flatten(1).any(1)
    if bool(broken.any()):
        span = f"{float(x[broken].min()):.6g} .. {float(x[broken].max()):.6g}"
        rounding = excess(x[broken], ball.range)
        yield f"the {what} leave the range {low:g} .. {high:g} in {_rows(broken)}: {rounding or f'they span {span}'}"


def _too_far(x: Tensor, x_adv: Tensor, ball: Ball) -> Iterator[str]:
    # The range and what is not finite have sentences of their own; a distance is still a distance.
    finite = x_adv.isfinite().flatten(1).all(1) & x.isfinite().flatten(1).all(1)
    broken = finite & ~Ball(ball.norm, ball.eps, None).contains(torch.where(x_adv.isfinite(), x_adv, x), x)
    if bool(broken.any()):
        farthest = float(ball.distance(x_adv[broken], x[broken]).max())
        what = f"the adversarial inputs leave the {ball.norm} ball of {ball.eps:.6g}"
        yield f"{what} in {_rows(broken)}: {farthest:.6g} away"


def _rows(broken: Tensor) -> str:
    return f"{int(broken.sum())} of {len(broken)} rows, the first is number {int(broken.nonzero()[0])}"


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, torch.Size) else value
