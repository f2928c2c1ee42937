"""What a caller hands to an attack, checked before anything is computed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustcl.errors import DataError, UsageError
from robustcl.threat import Ball, excess


def inputs(x: Tensor, y: Tensor, ball: Ball, who: str) -> Tensor:
    """Return x (R, *item), detached, after a look at it and at the labels y (R,) int64.

    Raises ``DataError`` for another type or shape, or for values that are not finite or outside the ball's range;
    ``UsageError`` inside ``torch.inference_mode``, where no gradient exists.
    """
    if torch.is_inference_mode_enabled():
        raise UsageError(f"{who} needs gradients: call it outside torch.inference_mode()")
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() < 2:
        said = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise DataError(f"{who}: the inputs are {said}; give a floating-point tensor (R, *item) in the model's range")
    x = x.detach()
    _labels(x, y, who)
    if not bool(x.isfinite().all()):
        row = int((~x.isfinite().flatten(1).all(1)).nonzero()[0])
        raise DataError(f"{who}: the inputs hold NaN or infinity, first in row {row}")
    if ball.range is not None and x.numel():
        low, high, (bottom, top) = float(x.min()), float(x.max()), ball.range
        if (low < bottom or high > top) and (rounding := excess(x, ball.range)):
            raise DataError(f"{who}: the inputs leave the range {bottom:g} .. {top:g}, {rounding}")
        if low < bottom or high > top:
            raise DataError(
                f"{who}: the inputs span {low:.6g} .. {high:.6g}, outside the range {bottom:g} .. {top:g}: "
                "normalisation belongs inside the model; for other values give range = (low, high)"
            )
    # A tensor of inference mode has no version counter, by which writing into it would be noticed.
    return x.clone() if x.is_inference() else x


def same_device(x: Tensor, model: nn.Module, who: str) -> None:
    """Raise ``DataError`` where inputs and model are on different devices."""
    home = device_of(model)
    if home is not None and x.device != home:
        raise DataError(f"{who}: the inputs are on {x.device} and the model on {home}: give x.to({str(home)!r})")


def device_of(model: nn.Module) -> torch.device | None:
    """Return where the model is; ``None`` for one without tensors, or on several devices."""
    homes = {tensor.device for tensor in [*model.parameters(), *model.buffers()]}
    return homes.pop() if len(homes) == 1 else None


def row_names(index: Tensor | None, x: Tensor, who: str) -> Tensor:
    """Return what the random streams of the rows are keyed by, (R,) int64: ``index``, or else 0, 1, ..."""
    if index is None:
        return torch.arange(len(x), device=x.device)
    if not isinstance(index, Tensor) or index.dtype != torch.int64 or index.shape != (len(x),):
        raise DataError(f"{who}: index names each of the {len(x)} inputs with one int64, its place in the data set")
    return index.to(x.device)


def _labels(x: Tensor, y: Tensor, who: str) -> None:
    if not isinstance(y, Tensor) or y.dtype != torch.int64:
        said = f"{y.dtype}" if isinstance(y, Tensor) else type(y).__name__
        raise DataError(f"{who}: the labels are {said}; give an int64 tensor (R,) of classes, for example y.long()")
    if y.shape != (len(x),):
        raise DataError(f"{who}: the labels have the shape {tuple(y.shape)} for {len(x)} inputs; give one class each")
    if y.device != x.device:
        raise DataError(f"{who}: the labels are on {y.device} and the inputs on {x.device}: move them together")
