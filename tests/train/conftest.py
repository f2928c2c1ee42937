"""A stage of the tiny recipe that nobody trains, for tests that write into it what they look at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from robustcl import api
from robustcl.train.falling import LossCurve
from robustcl.train.loop import StageRun
from robustcl.train.pairs import EpochMeans
from robustcl.train.refresh import ClusterState
from tests.shared import tiny
from tests.shared.one_step import stage_run


@pytest.fixture(scope="module")
def composition() -> api.Composition:
    return api.from_tables(tiny.tables(evaluate=[]), "the test")


@pytest.fixture(scope="module")
def built(composition: api.Composition, tmp_path_factory: pytest.TempPathFactory) -> StageRun:
    """Return a stage that nobody trains; what stands in it is written over by each test."""
    plan = replace(composition.stages[1], epochs=3)
    return stage_run(composition, plan, tmp_path_factory.mktemp("stage"))


@pytest.fixture
def run(built: StageRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StageRun:
    """Return that stage with a folder, and as if it had not begun."""
    monkeypatch.setattr(built, "keeping", replace(built.keeping, folder=tmp_path / "checkpoints"))
    monkeypatch.setattr(built, "plan", built.plan)
    built.done, built.epoch, built.within, built.seconds, built.chosen_rows = 0, 0, 0, 0.0, None
    built.clusters, built.pairs, built.curve, built.say = ClusterState(), EpochMeans(), LossCurve(), print
    return built
