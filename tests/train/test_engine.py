"""Who starts the processes of a run: we, torchrun or srun, and no word about clusters where there is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from robustcl.errors import UsageError
from robustcl.train.engine import Engine

BATCH_SCRIPT = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "0"}
"""What sbatch exports into its script: four tasks are asked for, and srun has started none."""

STEP = {**BATCH_SCRIPT, "SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
"""What srun exports to each of two tasks."""


@pytest.fixture
def login_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put an srun on the PATH, as on every machine of a cluster."""
    command = tmp_path / "srun"
    command.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


def environment(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.usefixtures("login_node")
def test_a_login_node_is_a_machine_like_others(devices: int) -> None:
    assert Engine("cpu", devices).world.devices == devices


@pytest.mark.usefixtures("login_node")
def test_processes_inside_a_batch_script_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, BATCH_SCRIPT)
    assert Engine("cpu", 1).fabric.world_size == 1
    assert Engine("cpu", 2).fabric.world_size == 2


@pytest.mark.usefixtures("login_node")
def test_several_processes_of_srun_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, {**STEP, "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_PROCID": "1"})
    assert Engine("cpu", 2).fabric.global_rank == 1


@pytest.mark.usefixtures("login_node")
def test_another_number_of_processes_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, STEP)
    with pytest.raises(
        UsageError, match="--devices 3 under srun, which has started 2 processes on 1 machine: leave it out, or"
    ):
        Engine("cpu", 3)
    assert Engine("cpu", 1).fabric.world_size == 1


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "64-true"])
def test_an_engine_is_silent(precision: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert Engine("cpu", precision=precision).fabric.device.type == "cpu"
    assert capfd.readouterr() == ("", "")


def test_a_precision_that_there_is_not_is_refused() -> None:
    with pytest.raises(UsageError, match="precision '16-mixed': it is 32-true, bf16-mixed or 64-true"):
        Engine("cpu", precision="16-mixed")
