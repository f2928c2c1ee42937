"""What an encoder's backbone must be, whoever has written it, and how it is called."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from robustcl.errors import RobustclError, UsageError, words
from robustcl.nn.modes import has_one_mode

_SAME = 1e-3
"""Up to this share of the largest feature a neighbour in the batch may move a row: sums in another order do."""


def features_of(backbone: nn.Module, x: Tensor, features: int, name: str) -> Tensor:
    """Return the features (R, F) of normalised inputs x (R, *item) by the backbone of the encoder ``name``.

    In eval mode one input is let through by a backbone that takes two or more, if its rows are independent.

    Raises:
        UsageError: the backbone fails, or returns something else.
    """
    alone = len(x) == 1 and not backbone.training
    try:
        h = backbone(x)
    except (RobustclError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        if alone:
            return _alone(backbone, x, name, error)
        said = f"the encoder {name!r} fails on {len(x)} inputs of shape {tuple(x.shape[1:])}, {words(error)}"
        raise UsageError(f"{said}; mend its backbone's forward") from error
    if not isinstance(h, Tensor):
        raise UsageError(_wanted(name, len(x), features) + f"a {type(h).__name__}")
    if alone and h.shape == (features,):
        h = h[None]  # it squeezes
    if h.shape != (len(x), features) or not h.is_floating_point():
        raise UsageError(_wanted(name, len(x), features) + f"{h.dtype} {tuple(h.shape)}")
    return h


def require_trainable(backbone: nn.Module, name: str) -> None:
    """Refuse a backbone that no training can change, before anything else meets it; raises ``UsageError``.

    TorchScript is taken where its modes can be held and it has no batch norms, which would keep a single branch.
    """
    for place, part in backbone.named_modules():
        if what := _closed(part):
            raise UsageError(f"the encoder {name!r}: its {place or 'backbone'} {what}: give the module itself")
    elsewhere = torch.empty(0).is_meta  # a skeleton is built there, to read weights into
    for place, tensor in [*backbone.named_parameters(), *backbone.named_buffers()]:
        what = None
        if is_lazy(tensor):
            what = "is lazy and has no shape yet: call the backbone once before it is returned"
        elif tensor.is_inference():
            what = "was made under torch.inference_mode and takes no gradient: build the backbone outside of it"
        elif tensor.is_meta and not elsewhere:
            what = "is on the meta device and has no values: build the backbone on the CPU"
        if what is not None:
            raise UsageError(f"the encoder {name!r}: its {place} {what}")


def keep_to_one_device(backbone: nn.Module) -> None:
    """Let ``DataParallel`` pass its inputs on as they are: a batch is divided among processes, one for each device."""
    for part in backbone.modules():
        if isinstance(part, nn.DataParallel):
            part.device_ids = []


def _closed(part: nn.Module) -> str | None:
    """Say why a module cannot be trained like any other, if it cannot."""
    if has_one_mode(part):
        return "is an exported program, which cannot be trained"
    if isinstance(part, nn.parallel.DistributedDataParallel):
        return "is wrapped in DistributedDataParallel, which training does by itself"
    if not isinstance(part, torch.jit.ScriptModule):
        return None
    if isinstance(part, torch.jit.TopLevelTracedModule):  # type: ignore[attr-defined]
        return "is traced (torch.jit.trace), and stays in the mode in which it was traced"
    if not hasattr(part, "training"):
        return "is frozen TorchScript, whose weights are constants that no training reaches"
    if any(name == "running_mean" for name, _ in part.named_buffers(recurse=False)):
        return "is a batch norm in TorchScript, which takes no branches for adversarial images"
    return None


def _wanted(name: str, rows: int, features: int) -> str:
    return f"the encoder {name!r} must return features {(rows, features)}, but its backbone returns "


def _alone(backbone: nn.Module, x: Tensor, name: str, error: Exception) -> Tensor:
    """Return the features of one input (1, *item) by a backbone that takes two or more."""
    try:
        one: Tensor = backbone(torch.cat([x, x.detach()]))[:1]
        other: Tensor = backbone(torch.cat([x, 0.5 * x.detach()]))[:1]
        same = torch.allclose(one, other, rtol=_SAME, atol=_SAME * float(one.detach().abs().max()))
    except Exception:
        same = False
    if not same:
        raise UsageError(
            f"the encoder {name!r} fails on a batch of 1, {words(error)}: one input may be left because fooled samples "
            "leave; let its backbone take a single one, with batch norms in eval mode"
        ) from error
    return one
