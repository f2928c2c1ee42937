"""How a model that somebody else has built is called: in which layout and type, and what of its output are the logits.

What runs in plain torch is judged. Channels last is tried first because it is quicker; where a forward cannot bear it,
as one that views a convolution's output cannot, the model runs contiguous throughout.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from robustcl.errors import UsageError
from robustcl.nn.fast import frozen_for_attack
from robustcl.nn.layout import channels_last
from robustcl.types import Embedding

_Call = Callable[[nn.Module, Tensor], Any]
_ROWS = 8
"""Rows of the first inputs on which layouts are tried."""


class Caller:
    """Calls one model, or a copy of it, in the way that its first call has found; classifiers keep one each."""

    def __init__(self) -> None:
        self._layout: bool | None = None
        self._cast: set[tuple[torch.dtype, torch.dtype]] = set()

    @property
    def channels_last(self) -> bool:
        """Whether inputs and weights may lie channels last, as far as a call has shown it."""
        return self._layout is True

    def __call__(self, model: nn.Module, x: Tensor, layers: frozenset[str] = frozenset({"logits"})) -> Embedding:
        """Return the logits (R, L) of inputs x (R, *item); raises ``UsageError`` where the output is something else."""
        if self._layout is None:
            self._layout = _bears_channels_last(self._called, model, x)
        return Embedding(logits=logits_of(self._called(model, channels_last(x) if self._layout else x), len(x)))

    def _called(self, model: nn.Module, x: Tensor) -> Any:
        """Call a model; one whose weights are of another type gets inputs of that type if it cannot take these."""
        kinds = {tensor.dtype for tensor in model.parameters() if tensor.is_floating_point()}
        if len(kinds) != 1 or x.dtype in kinds or torch.is_autocast_enabled(x.device.type):
            return model(x)
        (kind,) = kinds
        if (x.dtype, kind) not in self._cast:
            try:
                return model(x)
            except RuntimeError:
                self._cast.add((x.dtype, kind))
        return model(x.to(kind))


def logits_of(output: Any, rows: int) -> Tensor:
    """Return the logits (R, L) in what a model returned; raises ``UsageError`` that says how to get at them."""
    found = output if isinstance(output, Tensor) else getattr(output, "logits", output)
    if isinstance(found, Tensor) and found.dim() == 2 and len(found) == rows:
        return found
    shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    raise UsageError(f"the model must return logits (R, L) for {rows} inputs, but it returned {shape}{_remedy(found)}")


def _remedy(output: Any) -> str:
    if isinstance(output, Tensor):
        if output.dim() == 1:
            return ": of one logit z for each input make two columns, torch.stack([torch.zeros_like(z), z], 1)"
        return ": flatten it to two dimensions with out.flatten(1)" if output.dim() > 2 else ""
    places = output.items() if isinstance(output, dict) else enumerate(output) if _is_row(output) else ()
    names = [f"out[{place!r}]" for place, value in places if isinstance(value, Tensor) and value.dim() == 2]
    return f": wrap it in a module whose forward returns {' or '.join(names[:3])}" if names else ""


def _is_row(output: Any) -> bool:
    return isinstance(output, (tuple, list))


def _bears_channels_last(call: _Call, model: nn.Module, x: Tensor) -> bool:
    """Say whether a model takes images and weights channels last, forward and backward, and says the same of them.

    Where it takes neither layout, the question is left to the call itself, whose error is then the user's to read.
    """
    some = x[:_ROWS].detach()
    try:
        with frozen_for_attack(model):
            first = _passed(call, model, channels_last(some.clone()))
    except torch.OutOfMemoryError:
        raise
    except Exception:
        return False
    try:
        plain = _passed(call, model, some.clone().contiguous())
    except Exception:
        return True
    spread = (plain.max() - plain.min()).clamp(min=1e-30)
    return first.shape == plain.shape and bool(((first - plain).abs() <= 0.01 * spread).all())


def _passed(call: _Call, model: nn.Module, x: Tensor) -> Tensor:
    """Return what a model makes of inputs, after a backward pass where it has one."""
    with torch.enable_grad():
        leaf = x.requires_grad_()
        out = call(model, leaf.view_as(leaf))
        found = out if isinstance(out, Tensor) else getattr(out, "logits", out)
        if not isinstance(found, Tensor):
            return x.new_zeros(())
        if found.requires_grad:
            torch.autograd.grad(found.sum(), leaf, allow_unused=True)
    return found.detach().double()
