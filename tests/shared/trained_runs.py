"""Runs that several files of tests ask about: each is made once, by the first process of the tests that needs it.

A test that writes into one works on a copy; a run in which something has changed is an error at the end.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.shared import counted_study as counted
from tests.shared import tiny, two_seeds

START = ("run", "tiny.toml", "--device", "cpu", "--out", "run")


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The tiny recipe's run that nobody disturbed."""
    for folder in _made_once(tmp_path_factory, "whole", _run_to_the_end):
        yield folder / "run"


@pytest.fixture(scope="session")
def stopped_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The tiny recipe's run, stopped by Ctrl-C in its second stage, of which it keeps checkpoints."""
    for folder in _made_once(tmp_path_factory, "stopped", _stop_in_the_second_stage):
        yield folder / "run"


@pytest.fixture(scope="session")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the runs ``seed0`` and ``seed1`` of ``two_seeds``."""
    yield from _made_once(tmp_path_factory, "seeds", _train_two_seeds)


@pytest.fixture(scope="session")
def main_job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The main job as a user starts it: its directory ``run``, and what it printed, in ``said``."""
    yield from _made_once(tmp_path_factory, "job", _start_the_main_job)


@pytest.fixture(scope="session")
def counted_study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the study of ``tests/shared/counted_study.py``, done by one process."""
    yield from _made_once(tmp_path_factory, "counted", counted.run)


def _made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Iterator[Path]:
    """Give the folder that ``make`` fills, the same one to all processes of these tests."""
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = base / "shared" / name
    folder.parent.mkdir(exist_ok=True)
    with (made := folder.with_suffix(".made")).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.stat().st_size:
            shutil.rmtree(folder, ignore_errors=True)  # of a process in which it failed
            folder.mkdir()
            make(folder)
            lock.write("whole\n")
    before = _content(folder)
    yield folder
    assert _content(folder) == before, f"a test wrote into {folder}, which others read: let it work on a copy"


def _content(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def _train_two_seeds(folder: Path) -> None:

    two_seeds.train(folder)


def _run_to_the_end(folder: Path) -> None:
    (folder / "tiny.toml").write_text(tiny.RECIPE, encoding="utf-8")
    (ended,) = tiny.run_legs(folder, [tiny.Leg(START)])
    assert ended.code == 0, ended.said


def _stop_in_the_second_stage(folder: Path) -> None:
    (folder / "tiny.toml").write_text(tiny.RECIPE, encoding="utf-8")
    (ended,) = tiny.run_legs(folder, [tiny.Leg(START, "Ctrl-C", 17)])
    assert ended.code == 130, ended.said
    assert "stopped at step 7 of 10 of stage robust" in ended.said


def _start_the_main_job(folder: Path) -> None:
    line = [sys.executable, "-m", "robustcl", "compose", "--generator", "ncp", "--objective", "deacl"]
    # The number of threads decides the order of sums: the process gets as many as the tests.
    done = subprocess.run(
        [*line, "--budget", "smoke", "--device", "cpu", "--out", str(folder / "run")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    (folder / "said").write_text(done.stdout, encoding="utf-8")
