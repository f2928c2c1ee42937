"""robustcl: adversarially robust contrastive learning, composed instead of forked.

``recipe = robustcl.compose(generator="ncp", objective="deacl", dataset="digits")``, ``run = recipe.train()`` and
``run.results.to_frame()`` are the whole of it; ``robustcl.registry`` names the parts, ``robustcl.testing`` judges them.
Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustcl.composition import Composition, compose
    from robustcl.composition.run import Run, resume
    from robustcl.rng import Rng
    from robustcl.threat import Ball

__all__ = ["Ball", "Composition", "Rng", "Run", "compose", "resume"]

_HOMES = {
    "Ball": "robustcl.threat",
    "Composition": "robustcl.composition",
    "Rng": "robustcl.rng",
    "Run": "robustcl.composition.run",
    "compose": "robustcl.composition",
    "resume": "robustcl.composition.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
