"""A study on a real SLURM: a job that goes back to the queue, a node that dies, and the command killed and repeated."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugins.launchers.disturbed import Disturbed, hold_against, lives
from tests.plugins.launchers.engines import wait_until, without
from tests.shared.slurm_cluster import slurm_cluster, why_not

LAUNCHER = '{ use = "slurm", poll = 0.3, minutes = 30, patience = 3.0 }'


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Disturbed]:
    """The study on a cluster of one node."""
    reason = why_not() or (None if importlib.util.find_spec("submitit") else "submitit is not installed")
    if reason:
        without("slurm", reason)
    for name in ("slurm", "study"):
        (tmp_path / name).mkdir()
    with pytest.MonkeyPatch.context() as patch, slurm_cluster(tmp_path / "slurm") as conf:
        patch.setenv("SLURM_CONF", str(conf))
        made = Disturbed(tmp_path / "study", patch)
        yield made
        made.close()


def test_it_equals_what_one_process_does_and_nothing_is_trained_twice(study: Disturbed, counted_study: Path) -> None:
    study.start(LAUNCHER)
    study.hold("pretrain", 2)
    study.kill()
    first, *_ = _ask("squeue", "-h", "--array", "-t", "R", "-o", "%A").split()
    _ask("scontrol", "requeue", first)
    study.let_go("pretrain")
    study.start(LAUNCHER)
    gone = study.hold("robust", 2)
    _ask("scontrol", "update", f"nodename={_ask('sinfo', '-h', '-o', '%n')}", "state=down", "reason=it-died")
    wait_until(lambda: not any(map(lives, gone)), "what ran on a node that is down is gone")
    study.let_go("robust")  # slurmd is still there and brings its node back by itself
    study.wait()
    records = (study.folder / "out/tasks/slurm/tasks").glob("*.pretrain-*.json")
    attempts = [json.loads(record.read_text(encoding="utf-8"))["attempt"] for record in records]
    assert sorted(attempt.rpartition(".")[2] for attempt in attempts) == ["0", "1"], "one of both was requeued, once"
    hold_against(counted_study, study, killed={"pretrain": 1, "robust": 2})


def _ask(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
