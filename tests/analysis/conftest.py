"""Two finished runs, for each file a copy that its tests may write into."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def runs(two_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two finished runs that differ in their seed."""
    folder = shutil.copytree(two_runs, tmp_path_factory.mktemp("judged") / "runs")
    return [folder / "seed0", folder / "seed1"]
