"""Encoders made quick for attacks, which differentiate toward the inputs alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def frozen_for_attack(module: nn.Module, channels_last: bool = True) -> Iterator[None]:
    """Hold a module's parameters out of the graph, its convolution weights laid out ``channels_last`` if it can.

    Convolutions then keep no inputs for weight gradients and compute in the layout that processors prefer; results
    are the same up to rounding. ``requires_grad`` flags and layouts are put back afterwards, also on exceptions; the
    parameters stay the same objects with the same values, so optimizers and graphs made before are unaffected.
    """
    # Flags of tensors that were made in inference mode cannot be put back.
    flags = [(parameter, parameter.requires_grad) for parameter in module.parameters() if not parameter.is_inference()]
    layouts = [(parameter, parameter.data) for parameter, _ in flags if channels_last and parameter.dim() == 4]
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        for parameter, plain in layouts:
            parameter.data = plain.contiguous(memory_format=torch.channels_last)
        yield
    finally:
        for parameter, plain in layouts:
            parameter.data = plain
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
