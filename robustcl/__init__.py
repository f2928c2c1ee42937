"""robustcl: adversarially robust contrastive learning, composed instead of forked.

``recipe = robustcl.compose(generator="ncp", objective="deacl", dataset="digits")``, ``run = recipe.train()`` and
``run.results.to_frame()`` are the whole of it; ``robustcl.registry`` names the parts, ``robustcl.testing`` judges them.
For models from elsewhere: ``robustcl.attacks.PGD(model, eps="8/255")``, ``robustcl.AutoAttack``, ``robustcl.guard``.
Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustcl import attacks as attacks
    from robustcl.api import Composition, compose
    from robustcl.attacks import AutoAttack
    from robustcl.inspection import check_data
    from robustcl.interop.guarding import GuardWarning, guard
    from robustcl.rng import Rng
    from robustcl.run.execution import Run, resume
    from robustcl.threat import Ball

__all__ = [
    "AutoAttack",
    "Ball",
    "Composition",
    "GuardWarning",
    "Rng",
    "Run",
    "attacks",
    "check_data",
    "compose",
    "guard",
    "resume",
]

_HOMES = {
    "AutoAttack": "robustcl.attacks",
    "Ball": "robustcl.threat",
    "Composition": "robustcl.api",
    "GuardWarning": "robustcl.interop.guarding",
    "Rng": "robustcl.rng",
    "Run": "robustcl.run.execution",
    "check_data": "robustcl.inspection",
    "compose": "robustcl.api",
    "guard": "robustcl.interop.guarding",
    "resume": "robustcl.run.execution",
}
_ROOMS = {name: f"robustcl.{name}" for name in ("attacks", "registry", "robustbench", "testing", "zoo")}
"""Modules that are reached as attributes without an import of their own."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES and name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    if name in _ROOMS:
        return importlib.import_module(_ROOMS[name])
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
