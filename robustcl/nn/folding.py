"""A network made quick for one attack: a copy without batch norms, laid out and cast once instead of at each pass."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.fusion import fuse_conv_bn_eval

from robustcl.nn.layout import lay_out_channels_last
from robustcl.nn.modes import is_training
from robustcl.nn.snapshot import random_states, set_random_states

Forward: TypeAlias = Callable[[nn.Module, Tensor], Tensor]
"""(module, inputs (R, *item)) -> logits (R, L)."""

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_CAST = (*_CONVOLUTIONS, nn.Linear)
"""What autocast runs in its lower precision whatever the surroundings; exactly these types, no subclasses."""
_ROWS = 8
_TOLERANCE = 1e-4
"""How far logits may move, as a share of their range: far above rounding, far below any mistake."""
_COARSE = 0.02
"""The same where the module's own logits are of half precision."""


def fold(module: nn.Module, forward: Forward, x: Tensor, channels_last: bool = True) -> nn.Module | None:
    """Return a copy that gives the same logits sooner, or ``None`` where it would not or cannot be shown to.

    Every batch norm in eval mode that is seen to follow a convolution becomes part of it (Jacob et al., Quantization
    and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, CVPR 2018, section 3.2), and under
    autocast weights are cast once. A copy of a float16 module is of single precision. The copy's logits on the first
    rows of x (R, *item) are held against the
    module's, so a network in which folding is wrong, or that draws at random, is left alone. The module and the global
    random generators stay as they are. The copy needs no gradient toward its parameters.
    """
    kind, before = x.device.type, random_states()
    x = x[:_ROWS].detach().clone()
    try:
        with torch.no_grad(), torch.autocast(kind, enabled=False):
            quick = copy.deepcopy(module).requires_grad_(False)
            narrow = any(tensor.dtype == torch.float16 for tensor in quick.parameters())
            # Tensors that were made in inference mode let no gradient pass; their copies do.
            inert = any(tensor.is_inference() for tensor in [*module.parameters(), *module.buffers()])
            if narrow:  # gradients below 6e-8 would be 0, and whom they leave in place would look robust
                quick.float()
            wanted, pairs = forward(module, x), _pairs(quick, forward, x)
            if any(is_training(part) for part in quick.modules()) or not (pairs or narrow or inert):
                return None
            for convolution, norm in pairs.items():
                _put(quick, convolution, fuse_conv_bn_eval(convolution, norm))
                _put(quick, norm, nn.Identity())
            if channels_last:
                lay_out_channels_last(quick)
            if not _alike(wanted, forward(quick, x), _COARSE if narrow else _TOLERANCE):
                return None
        if torch.is_autocast_enabled(kind):
            _cast_once(quick, torch.get_autocast_dtype(kind))
            with torch.no_grad():
                forward(quick, x)
    except Exception:
        return None  # whatever a stranger's module cannot bear, it is attacked as it is
    finally:
        set_random_states(before)
    return quick


def _pairs(module: nn.Module, forward: Forward, x: Tensor) -> dict[_ConvNd, _BatchNorm]:
    """Return convolution -> the batch norm that takes its output, as one forward pass shows; used once each."""
    made: dict[int, tuple[_ConvNd, Tensor]] = {}  # the outputs are held, so that no other one takes their place
    pairs: dict[_ConvNd, _BatchNorm] = {}
    used: list[nn.Module] = []

    def after(layer: _ConvNd, inputs: object, output: Tensor) -> None:
        made[id(output)] = layer, output
        used.append(layer)

    def ahead(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        used.append(norm)
        if inputs and id(inputs[0]) in made:
            assert isinstance(norm, _BatchNorm)
            pairs[made[id(inputs[0])][0]] = norm  # of a norm within a norm, the inner one

    handles = [
        part.register_forward_hook(after) if type(part) in _CONVOLUTIONS else part.register_forward_pre_hook(ahead)
        for part in module.modules()
        if type(part) in _CONVOLUTIONS or isinstance(part, _BatchNorm)
    ]
    forward(module, x)
    for handle in handles:
        handle.remove()
    return {layer: norm for layer, norm in pairs.items() if used.count(layer) == used.count(norm) == 1}


def _put(module: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for parent in list(module.modules()):
        for name, child in parent._modules.items():
            if child is old:
                parent._modules[name] = new


def _alike(wanted: Tensor, found: Tensor, tolerance: float) -> bool:
    spread = float(wanted.max() - wanted.min())
    return wanted.shape == found.shape and bool(((wanted - found).abs() <= tolerance * spread).all())


class _CastOnce(nn.Module):
    """A layer under autocast, which casts the weights of a frozen one at every pass."""

    def __init__(self, layer: nn.Module, kind: torch.dtype) -> None:
        super().__init__()
        self.layer, self.cast = layer, copy.deepcopy(layer).to(kind)
        self.training = False

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = (self.cast if torch.is_autocast_enabled(x.device.type) else self.layer)(x)
        return found


def _cast_once(module: nn.Module, kind: torch.dtype) -> None:
    for part in list(module.modules()):
        if type(part) in _CAST:
            _put(module, part, _CastOnce(part, kind))
