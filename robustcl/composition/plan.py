"""What a recipe comes to: every part found, every option checked, and nothing trained. Values, without doors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from robustcl.composition.parts import Parts
from robustcl.evaluate.identity import Identity
from robustcl.nn.projector import Projector
from robustcl.recipe import Evaluate, Recipe, Stage
from robustcl.threat import Ball
from robustcl.train.plan import Part, StagePlan


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """One protocol: its training stages per route, and its attacks."""

    table: Evaluate
    protocol: Part
    stages: Mapping[str, tuple[tuple[Stage, StagePlan], ...]]
    attacks: tuple[Part, ...]
    identity: Identity


@dataclass(frozen=True, slots=True)
class RecipePlan:
    """A recipe whose plugins are found, whose options are valid and whose needs are met; nothing is trained yet.

    how: in words, how it came about. met: need -> who meets it.
    """

    recipe: Recipe
    tables: Mapping[str, Any]
    how: tuple[str, ...]
    parts: Parts
    dataset: Part
    encoder: Part
    projector: Projector
    ball: Ball
    stages: tuple[StagePlan, ...]
    evaluations: tuple[EvaluationPlan, ...]
    met: Mapping[str, str] = field(default_factory=dict)
