"""What a caller hands to an attack, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from robustcl.errors import DataError, UsageError
from robustcl.evaluate import aim
from robustcl.options import arrays
from robustcl.ratio import plain
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


def block(bs: object, rows: int) -> int:
    """Return how many inputs are attacked together: ``bs``, or all of the ``rows`` where it is left out."""
    if bs is None:
        return max(rows, 1)
    bs = plain(bs)
    if isinstance(bs, bool) or not isinstance(bs, int) or bs < 1:
        raise UsageError(f"bs = {bs!r}: give the number of inputs that are attacked together, 1 or more")
    return bs


def targets(target: object, y: Tensor, classes: int, who: str) -> int | Tensor | None:
    """Return the class that all rows are to reach, or (R,) int64 on the labels' device, one for each row of y (R,).

    ``target``: a number, or one for each row in a tensor, an array or a list; ``None`` is handed back. Raises
    ``DataError`` for anything else, another length, and a class that the model does not have.
    """
    target = plain(target)
    if target is None:
        return None
    if isinstance(target, int) and not isinstance(target, bool):
        aim.check(target, classes, who)
        return target
    if isinstance(target, bool | float | str | Mapping):
        raise DataError(f"{who}: target = {target!r} is no class: give its number, 0 to {classes - 1}, or one for each")
    try:
        found = arrays.tensor(target, "targets")
    except UsageError as error:
        raise DataError(f"{who}: {error}; give a class number for each row") from None
    if found.is_floating_point() or found.dtype == torch.bool:
        raise DataError(f"{who}: the targets are {found.dtype}: give class numbers, for example target.long()")
    if found.shape != y.shape:
        one_hot = ", for example target.argmax(1)" if found.dim() == 2 else ""
        said = f"the targets have the shape {tuple(found.shape)} for {len(y)} inputs"
        raise DataError(f"{who}: {said}; give one class number for each{one_hot}")
    found = found.to(y.device, torch.int64)
    if bool((wrong := (found < 0) | (found >= classes)).any()):
        row = int(wrong.nonzero()[0])
        raise DataError(f"{who}: row {row} has the target {int(found[row])}, but the classes are 0 to {classes - 1}")
    return found


def _labels(x: Tensor, y: Tensor, who: str) -> None:
    if not isinstance(y, Tensor) or y.dtype != torch.int64:
        said = f"{y.dtype}" if isinstance(y, Tensor) else type(y).__name__
        raise DataError(f"{who}: the labels are {said}; give an int64 tensor (R,) of classes, for example y.long()")
    if y.shape != (len(x),):
        raise DataError(f"{who}: the labels have the shape {tuple(y.shape)} for {len(x)} inputs; give one class each")
    if y.device != x.device:
        raise DataError(f"{who}: the labels are on {y.device} and the inputs on {x.device}: move them together")
