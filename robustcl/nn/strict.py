"""Strict loading: every tensor of a module from a file, none too many, and a readable difference otherwise."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from torch import Tensor, nn

from robustcl.errors import WeightsError


def fill(module: nn.Module, tensors: dict[str, Tensor], path: Path, whose: str, skip: Collection[str] = ()) -> None:
    """Load the tensors of ``path`` into a module; ``skip`` names children that keep what they have.

    Raises ``WeightsError``, before anything is changed, where names or shapes differ.
    """
    own = module.state_dict()
    kept = {name for name in own if name.split(".")[0] in skip}
    offered = {name: value for name, value in tensors.items() if name.split(".")[0] not in skip}
    wanted = {name: value for name, value in own.items() if name not in kept}
    shapes = [
        f"{name} {tuple(offered[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in sorted(wanted.keys() & offered.keys())
        if offered[name].shape != wanted[name].shape
    ]
    faults = {
        "missing": sorted(wanted.keys() - offered.keys()),
        "unexpected": sorted(offered.keys() - wanted.keys()),
        "of another shape": shapes,
    }
    if any(faults.values()):
        words = "; ".join(f"{len(names)} {kind}: {_some(names)}" for kind, names in faults.items() if names)
        raise WeightsError(f"the tensors of {path} are not this {whose}'s: {words}")
    try:
        module.load_state_dict({**{name: own[name] for name in kept}, **offered})
    except (RuntimeError, ValueError) as error:  # a module may ask for more than tensors, e.g. a version
        raise WeightsError(f"{path} does not load into this {whose}: {error}") from error


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
