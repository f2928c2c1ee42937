"""From a recipe to a run: choose the recipe, check every need before a tensor exists, build, explain, execute."""

from __future__ import annotations

from robustcl.composition.api import Composition, compose

__all__ = ["Composition", "compose"]
