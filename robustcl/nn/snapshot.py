"""A model and the global random generators as they are now, so that they can be put back after somebody else's code."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class Snapshot:
    """What ``restore`` puts back: flags, buffers and random states; parameters and gradients if ``parameters``.

    Keeps a copy of each tensor that it may have to put back: once the model's memory, twice where there are gradients.
    """

    def __init__(self, model: nn.Module, *, parameters: bool = True) -> None:
        self._flags = [
            (name, module, getattr(module, "training", False), getattr(module, "track_running_stats", None))
            for name, module in model.named_modules()
        ]
        self._buffers = [_Slot.of(module, "buffer", place, name) for place, module, name in _slots(model, "_buffers")]
        self._parameters = [
            _Parameter.of(module, place, name) for place, module, name in _slots(model, "_parameters") if parameters
        ]
        self._randomness = random_states()

    def restore(self) -> list[str]:
        """Put everything back; return a sentence for each thing that was not as it had been."""
        return [*self._restore_flags(), *self._restore_tensors(), *self._restore_randomness()]

    def _restore_flags(self) -> Iterator[str]:
        for name, module, training, tracks in self._flags:
            what = f"{type(module).__name__} {name or '(the model itself)'}"
            now = getattr(module, "training", False)  # a frozen TorchScript module has none
            if now != training:
                yield f"{what} was left in {_mode(now)} mode instead of {_mode(training)} mode"
                module.training = training
            if tracks is not None and module.track_running_stats != tracks:
                yield f"{what} was left with track_running_stats = {module.track_running_stats}"
                module.track_running_stats = tracks

    def _restore_tensors(self) -> Iterator[str]:
        for slot in self._buffers:
            yield from slot.restore()
        for parameter in self._parameters:
            yield from parameter.restore()

    def _restore_randomness(self) -> Iterator[str]:
        for name, state in random_states().items():
            before = self._randomness.get(name)
            if before is not None and not _same_state(before, state):
                yield f"the global random generator of {name} was seeded or drawn from"
        set_random_states(self._randomness)


def random_states() -> dict[str, Any]:
    """Return the states of the global generators of torch, NumPy and Python, and of CUDA once that is in use."""
    states: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "NumPy": np.random.get_state(),  # noqa: NPY002 - the global generator is what is kept
        "Python": random.getstate(),
    }
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states["CUDA"] = torch.cuda.get_rng_state_all()
    return states


def set_random_states(states: dict[str, Any]) -> None:
    """Put back what ``random_states`` returned."""
    torch.set_rng_state(states["torch"])
    np.random.set_state(states["NumPy"])  # noqa: NPY002
    random.setstate(states["Python"])
    if "CUDA" in states:
        torch.cuda.set_rng_state_all(states["CUDA"])


def differ(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Say whether a generator has moved between two ``random_states``."""
    return any(not _same_state(state, second[name]) for name, state in first.items())


@dataclass(frozen=True, slots=True)
class _Slot:
    """A tensor in its module, and the value that it had."""

    module: nn.Module
    what: str
    name: str
    tensor: Tensor | None
    value: Tensor | None

    @classmethod
    def of(cls, module: nn.Module, kind: str, place: str, name: str) -> _Slot:
        tensor = getattr(module, name)
        return cls(module, f"{kind} {place}", name, tensor, None if tensor is None else tensor.detach().clone())

    def restore(self) -> Iterator[str]:
        now = getattr(self.module, self.name, None)
        if _same(now, self.value) and now is self.tensor:
            return
        if not _same(now, self.value):
            yield f"the {self.what} was changed{_by(now, self.value)}"
        if self.tensor is not None and self.value is not None:
            with torch.no_grad():
                # Through data: a tensor that was made under inference mode takes nothing else.
                self.tensor.data.copy_(self.value)
        setattr(self.module, self.name, self.tensor)


@dataclass(frozen=True, slots=True)
class _Parameter:
    """A parameter's slot, its flag and its gradient."""

    slot: _Slot
    flag: bool
    gradient: Tensor | None
    value: Tensor | None

    @classmethod
    def of(cls, module: nn.Module, place: str, name: str) -> _Parameter:
        parameter = getattr(module, name)
        slot = _Slot.of(module, "parameter", place, name)
        gradient = None if parameter is None else parameter.grad
        flag = parameter is not None and parameter.requires_grad
        return cls(slot, flag, gradient, None if gradient is None else gradient.detach().clone())

    def restore(self) -> Iterator[str]:
        yield from self.slot.restore()
        parameter = self.slot.tensor
        if parameter is None:
            return
        if parameter.requires_grad != self.flag:
            yield f"the {self.slot.what} was left with requires_grad = {parameter.requires_grad}"
            parameter.requires_grad_(self.flag)
        if not _same(parameter.grad, self.value):
            yield f"the .grad of the {self.slot.what} was {'filled' if self.value is None else 'changed'}"
        if self.gradient is not None and self.value is not None:
            self.gradient.data.copy_(self.value)
        parameter.grad = self.gradient


def _slots(model: nn.Module, kind: str) -> Iterable[tuple[str, nn.Module, str]]:
    for prefix, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):  # whose slots are no dictionaries
            named = module.named_buffers if kind == "_buffers" else module.named_parameters
            names = [name for name, _ in named(recurse=False)]
        else:
            names = list(getattr(module, kind))
        for name in names:
            yield f"{prefix}.{name}" if prefix else name, module, name


def _same(now: Tensor | None, before: Tensor | None) -> bool:
    """Say whether two tensors are alike in every value, a NaN included."""
    if now is None or before is None:
        return now is before
    if now.shape != before.shape or now.dtype != before.dtype or now.device != before.device:
        return False
    if now.is_meta:
        return True  # there are no values
    return torch.equal(now, before) or bool(((now == before) | ((now != now) & (before != before))).all())


def _by(now: Tensor | None, before: Tensor | None) -> str:
    """Say by how much, where that can be said."""
    if now is None or before is None or now.shape != before.shape or now.device != before.device or not now.numel():
        return ""
    if before.dtype == torch.bool:
        return ""
    return f" by up to {float((now.detach().double() - before.double()).abs().max()):.4g}"


def _same_state(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor):
        return torch.equal(first, second)
    if isinstance(first, (list, tuple)) and len(first) == len(second):
        return all(_same_state(one, other) for one, other in zip(first, second, strict=True))
    return bool(np.array_equal(first, second))


def _mode(training: bool) -> str:
    return "train" if training else "eval"
