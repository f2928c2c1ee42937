"""An attack in a ball of another size: its steps grow with it, so that every edge can be reached."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from robustcl import hooks
from robustcl.evaluate import aim
from robustcl.evaluate.judge import Members
from robustcl.hooks import GeneratorHooks
from robustcl.registry.presets import Solo
from robustcl.threat import Ball


def grow(plugin: Any, times: float) -> Mapping[str, Any]:
    """Return the options of an attack that its own ``grow(times)`` says for a ball ``times`` as large."""
    return {} if times == 1.0 else hooks.of(mover(plugin), GeneratorHooks).grow(times)


def mover(plugin: Any) -> Any:
    """Return who takes an attack's steps: the generator that it is made of, or an ensemble itself."""
    return plugin.generator if isinstance(plugin, Solo) else plugin


def members(plugin: Any, classes: int, ball: Ball, times: float = 1.0) -> Members:
    """Return an attack's members for ``ball``, which is ``times`` as large as the one that its steps were set for.

    Raises ``UsageError`` where one of them is aimed at a class that is none of ``classes``.
    """
    if times != 1.0:
        plugin = copy.copy(plugin)
        if (moved := mover(plugin)) is not plugin:
            moved = plugin.generator = copy.copy(moved)
        if (step := hooks.of(moved, GeneratorHooks).step_size) is not None:
            moved.step_size = step * times
        for name, value in grow(moved, times).items():
            setattr(moved, name, value)
    found: Members = plugin.members(classes, ball)
    for name, generator in found:
        aim.check(aim.of(generator), classes, name)
    return found
