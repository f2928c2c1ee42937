"""Stages of a few steps on half of the digits, and an objective that keeps what it saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from robustcl import api
from robustcl.protocols import Need
from robustcl.run.execution import Run
from robustcl.types import Scene
from tests.shared import tiny


def stage(**changes: Any) -> dict[str, Any]:
    """Return a stage of five steps: a view, its noisy twin, both toward each other."""
    return {
        "name": "it",
        "epochs": 1,
        "batch": 128,
        "views": {"w": "weak"},
        "generator": {"w_adv": {"use": "noise", "reads": ["w"]}},
        "term": {"pull": {"use": "info-nce", "views": ["w", "w_adv"]}},
        "optimizer": {"use": "sgd", "lr": 0.1, "momentum": 0.0, "weight_decay": 0.0},
    } | changes


def composed(*stages: Mapping[str, Any], seed: int = 0, **changes: Any) -> api.Composition:
    """Compose some stages of the tiny recipe, without an evaluation."""
    tables = tiny.tables(stage=list(stages), evaluate=[], seed=seed, **changes)
    tables["data"] = {"use": "digits", "batch": 128, "validation": 0.5}
    return api.from_tables(tables, "the test")


def train(out: Path, *stages: Mapping[str, Any], seed: int = 0, **changes: Any) -> Run:
    """Train some stages of the tiny recipe."""
    return composed(*stages, seed=seed, **changes).train(out, device="cpu", report=False)


class Recorder:
    """An objective that keeps the scenes of every step, for the test to look at; forget them before."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.FEATURES})
    citation: ClassVar[str] = "none: a test's own"
    views: ClassVar[tuple[str, ...]] = ("*",)
    terms: ClassVar[tuple[str, ...]] = ("norm",)
    scenes: ClassVar[list[Scene]] = []
    scales: ClassVar[list[float]] = []

    def __init__(self, *, scale: float = 1.0) -> None:
        self.scale = scale

    def per_sample(self, scene: Scene) -> Mapping[str, Tensor]:
        self.scenes.append(scene)
        self.scales.append(self.scale)
        first = next(iter(scene.views.values()))
        return {"norm": self.scale * first.h.square().mean(1)}


def perturbed(scene: Scene, pairs: Sequence[tuple[str, str]]) -> list[Tensor]:
    """Return how far each written view lies from the one it was made of, (B, *item) each."""
    views = scene.batch.views
    return [(views[written] - views[read]).detach() for read, written in pairs]
