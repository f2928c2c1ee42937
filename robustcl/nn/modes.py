"""Batch-norm and dropout modes, held for the length of a block and restored module by module."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from robustcl.errors import UsageError


@contextmanager
def hold_mode(module: nn.Module, mode: str) -> Iterator[None]:
    """Hold ``module`` in a mode; afterwards every submodule has its own flags again, also after an exception.

    ``"eval"``: running statistics, no dropout; nothing changes.
    ``"batch"``: batch statistics, no dropout; nothing changes.
    ``"train"``: batch statistics and dropout; every forward pass moves the running statistics.
    Raises UsageError for another mode.
    """
    if mode not in MODES:
        raise UsageError(f"the batch-norm mode {mode!r} is unknown: write one of {', '.join(MODES)}")
    if mode == "eval" and not any(is_training(submodule) for submodule in module.modules()):
        with _still_in_eval(module):
            yield
        return
    before = [(m, is_training(m), getattr(m, "track_running_stats", None)) for m in module.modules()]
    try:
        MODES[mode](module)
        yield
    finally:
        for submodule, training, tracks in before:
            if is_training(submodule) != training:
                submodule.training = training
            if tracks is not None:
                submodule.track_running_stats = tracks


@contextmanager
def hold_statistics(module: nn.Module) -> Iterator[None]:
    """Let forward passes read what they would, and leave the running statistics of batch norm as they are.

    By a momentum of 0: without tracking, as in the mode ``"batch"``, a graph would keep other tensors.
    """
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    try:
        for norm, _, count in before:
            norm.momentum = 0.0
            norm.num_batches_tracked = None if count is None else count.clone()
        yield
    finally:
        for norm, momentum, count in before:
            norm.momentum, norm.num_batches_tracked = momentum, count


@contextmanager
def _still_in_eval(module: nn.Module) -> Iterator[None]:
    """Hold what is in eval mode already; attacks come here thousands of times, so nothing is set or remembered."""
    try:
        yield
    finally:
        for submodule in module.modules():
            if is_training(submodule):
                submodule.training = False


def is_training(module: nn.Module) -> bool:
    """Return a module's own flag; frozen TorchScript has none, because it is in eval mode for good."""
    return bool(getattr(module, "training", False))


def has_one_mode(module: nn.Module) -> bool:
    """Say whether a module stays in the mode in which it was exported, whatever its flag says (torch.export)."""
    return "train" in vars(module)


def put_in_eval(module: nn.Module) -> nn.Module:
    """Return the module in eval mode; what was exported refuses to be asked and has its flags set alone."""
    try:
        return module.eval()
    except NotImplementedError:
        for submodule in module.modules():
            submodule.training = False
        return module


def _eval(module: nn.Module) -> None:
    put_in_eval(module)


def _train(module: nn.Module) -> None:
    module.train()


def _batch(module: nn.Module) -> None:
    put_in_eval(module)
    for submodule in module.modules():
        if isinstance(submodule, _BatchNorm):
            # torch's own switch: in training without tracking a norm reads the batch and writes nothing.
            submodule.training = True
            submodule.track_running_stats = False


MODES: Mapping[str, Callable[[nn.Module], None]] = {"eval": _eval, "batch": _batch, "train": _train}
