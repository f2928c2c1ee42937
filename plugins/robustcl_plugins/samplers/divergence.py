"""How far adversarial projections lie from clean ones: the distances of robustness-aware coreset selection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor


def _scaled_kl(adversarial: Tensor, clean: Tensor) -> Tensor:
    return _kl(_scaled(adversarial), _scaled(clean)).mean(dim=1)


def _softmax_kl(adversarial: Tensor, clean: Tensor) -> Tensor:
    q, p = adversarial.log_softmax(dim=1), clean.log_softmax(dim=1)
    return (q.exp() * (q - p)).mean(dim=1)


def _jensen_shannon(adversarial: Tensor, clean: Tensor) -> Tensor:
    q, p = adversarial.softmax(dim=1), clean.softmax(dim=1)
    middle = (p + q) / 2
    return (_kl(q, middle) + _kl(p, middle)).mean(dim=1) / 2


def _kl(q: Tensor, p: Tensor) -> Tensor:
    """Return the elements q log(q / p); an element that softmax rounded to 0 gives 0."""
    tiny = torch.finfo(q.dtype).tiny
    return q * (q.clamp(min=tiny).log() - p.clamp(min=tiny).log())


def _scaled(z: Tensor) -> Tensor:
    """Return rows (S, D) from 1e-8 on, their largest entry at 1; equal entries stay at 1e-8.

    The smallest entry is the constant that it is: the huge slope of log at 1e-8 times the rounding of what should
    cancel to 0 would drown all other gradients.
    """
    z = z - z.amin(dim=1, keepdim=True)
    largest = z.amax(dim=1, keepdim=True)
    return torch.where(z > 0, z / torch.where(largest > 0, largest, 1.0), 0.0) + 1e-8


DISTANCES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {"kl": _scaled_kl, "softmax-kl": _softmax_kl, "js": _jensen_shannon}
)
"""d (S,) of adversarial and clean projections (S, D), each row by itself, as a mean over its elements."""
