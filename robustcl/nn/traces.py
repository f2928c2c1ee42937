"""What a plugin may leave behind unasked: changed tensors, gradients, flags, moved random generators."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

_Mark = tuple[Tensor | None, int]
"""A tensor and its version counter, which every write in place moves."""


class Traces:
    """A picture of some modules and of the global random generators, taken when it is made.

    ``buffers`` and ``randomness`` say whether these are watched. Nothing but the generators' states is
    copied.
    """

    def __init__(self, modules: Sequence[nn.Module], *, buffers: bool = True, randomness: bool = True) -> None:
        self._modules = tuple(modules)
        self._buffers = buffers
        self._tensors = dict(self._marks())
        self._flags = [getattr(module, "training", False) for module in self._every()]
        self._randomness = _random_states() if randomness else {}

    def found(self) -> Iterator[str]:
        """Yield a sentence for each thing that has changed since."""
        now = dict(self._marks())
        for name in {**self._tensors, **now}:
            before, after = self._tensors.get(name, (None, 0)), now.get(name, (None, 0))
            if before[0] is not after[0] or before[1] != after[1]:
                yield f"the {name} changed"
        for module, flag in zip(self._every(), self._flags, strict=True):
            now_flag = getattr(module, "training", False)  # a frozen TorchScript module has none
            if now_flag != flag:
                yield f"the training flag of a {type(module).__name__} was left at {now_flag}"
        for name, state in _random_states().items() if self._randomness else ():
            if self._randomness.get(name, state) != state:
                yield f"it drew from {name}'s global generator instead of the rng it was given"

    def _marks(self) -> Iterator[tuple[str, _Mark]]:
        for number, module in enumerate(self._modules):
            kind = f"{type(module).__name__} {number}" if len(self._modules) > 1 else type(module).__name__
            for name, parameter in module.named_parameters():
                grad = parameter.grad
                yield f"parameter {name} of {kind}", (parameter, _version(parameter))
                yield f".grad of {name} of {kind}", (grad, 0 if grad is None else _version(grad))
            for name, buffer in module.named_buffers() if self._buffers else ():
                yield f"buffer {name} of {kind}", (buffer, _version(buffer))

    def _every(self) -> Iterator[nn.Module]:
        for module in self._modules:
            yield from module.modules()


def _version(tensor: Tensor) -> int:
    """Return the counter of writes; tensors of lazy layers and of inference mode keep none."""
    return 0 if is_lazy(tensor) or tensor.is_inference() else tensor._version


def _random_states() -> dict[str, object]:
    numpy = np.random.get_state(legacy=False)  # noqa: NPY002 - the global generator is what is watched
    states: dict[str, object] = {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": (numpy["state"]["key"].tobytes(), numpy["state"]["pos"]),
        "Python": random.getstate(),
    }
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states["CUDA"] = torch.cuda.get_rng_state().numpy().tobytes()
    return states
