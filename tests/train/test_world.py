"""How many processes a run has: what was asked for, held against what torchrun, srun or Kubeflow has started."""

from __future__ import annotations

import pytest

from robustcl.errors import UsageError
from robustcl.train import world
from robustcl.train.engine import Engine

_MEET = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
TORCHRUN = {**_MEET, "TORCHELASTIC_RUN_ID": "none", "RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4",
            "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "1"}  # fmt: skip
"""The second of two processes on the second of two machines."""

SRUN = {"SLURM_JOB_ID": "12", "SLURM_STEP_ID": "1", "SLURM_JOB_NAME": "bash", "SLURM_NTASKS": "8",
        "SLURM_NODELIST": "n[1-4]", "SLURM_STEP_NODELIST": "n[3-4]", "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_PROCID": "3", "SLURM_LOCALID": "1",
        "SLURM_NODEID": "1"}  # fmt: skip
"""The same in a step that has half of a job's machines and tasks."""

KUBEFLOW = {**_MEET, "RANK": "1", "WORLD_SIZE": "2"}


def started(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(("variables", "devices", "nodes", "rank"), [
    (TORCHRUN, 2, 2, 3), (SRUN, 2, 2, 3), (KUBEFLOW, 1, 2, 1),
    ({**TORCHRUN, "LOCAL_WORLD_SIZE": "4"}, 4, 1, 3),
    ({name: value for name, value in TORCHRUN.items() if name != "TORCHELASTIC_RUN_ID"}, 2, 2, 3),
    ({**SRUN, "SLURM_STEP_TASKS_PER_NODE": "4", "SLURM_STEP_NUM_NODES": "1"}, 4, 1, 3),
])  # fmt: skip
def test_the_processes_that_were_started_are_the_runs(
    variables: dict[str, str], devices: int, nodes: int, rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(monkeypatch, variables)
    for asked in ((None, None), ("auto", None), (devices, None), (None, nodes), (devices, nodes)):
        if asked == (1, None):
            continue  # this process by itself
        engine = Engine("cpu", asked[0], num_nodes=asked[1])
        assert (engine.world.devices, engine.world.nodes, engine.world.size) == (devices, nodes, devices * nodes)
        assert (engine.fabric.world_size, engine.fabric.global_rank) == (devices * nodes, rank)
        assert not engine.starts_processes
        assert not engine.starter
    alone = Engine("cpu", 1)
    assert (alone.world.size, alone.fabric.world_size, alone.starts_processes) == (1, 1, True)


def test_a_step_meets_on_its_own_machines_and_port(monkeypatch: pytest.MonkeyPatch) -> None:
    started(monkeypatch, SRUN)
    environment = world.find(None, None, 1).environment
    assert environment.main_address == "n3"
    ports = {environment.main_port}
    monkeypatch.setenv("SLURM_STEP_ID", "2")
    ports.add(environment.main_port)
    assert len(ports) == 2
    assert all(15000 <= port < 25000 for port in ports)
    started(monkeypatch, {"MASTER_ADDR": "elsewhere", "MASTER_PORT": "4321"})
    assert (environment.main_address, environment.main_port) == ("elsewhere", 4321)


@pytest.mark.parametrize(("variables", "devices", "nodes", "words"), [
    (TORCHRUN, 3, None, "--devices 3 under torchrun, which has started 4 processes on 2 machines: leave it out, or "
     "write torchrun --nnodes 2 --nproc-per-node 3"),
    (TORCHRUN, 1, None, "--devices 1 under torchrun, which has started 4 processes"),
    (SRUN, 2, 3, "--devices 2 --num-nodes 3 under srun, which .*write srun --nodes=3 --ntasks=6 --ntasks-per-node=2"),
    (KUBEFLOW, 2, None, "--devices 2 under Kubeflow, which has started 2 processes on 2 machines"),
    ({**TORCHRUN, "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}, 2, None, "--devices 2 under torchrun, which has started "
     "1 process on 1 machine"),
    ({**SRUN, "SLURM_STEP_TASKS_PER_NODE": "3,1"}, None, None, "srun has started 4 processes unevenly .*3,1"),
    ({**TORCHRUN, "LOCAL_WORLD_SIZE": "3"}, None, None, "torchrun has started 4 processes unevenly"),
    ({**TORCHRUN, "WORLD_SIZE": "many"}, None, None, "WORLD_SIZE = 'many', which is no number of processes"),
])  # fmt: skip
def test_others_than_were_started_are_one_sentence(
    variables: dict[str, str], devices: int | None, nodes: int | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(monkeypatch, variables)
    with pytest.raises(UsageError, match=words):
        world.require(devices, nodes)


def test_alone_there_is_one_machine_and_auto_is_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert world.find("auto", None, 3).devices == 3
    assert Engine("cpu", "auto", num_nodes=1).world.size == 1
    world.require(7, 2)  # nobody has started anything: it is for the engine to say that other machines are not reached
    with pytest.raises(UsageError, match="--num-nodes 2: only torchrun, srun and Kubeflow start processes on several"):
        Engine("cpu", 4, num_nodes=2)
    started(monkeypatch, {**SRUN, "SLURM_STEP_NUM_TASKS": "1"})
    assert world.find(2, None, 1).ours, "a single task of srun starts the others on its machine"
    started(monkeypatch, {**KUBEFLOW, "WORLD_SIZE": "1"})
    assert world.find(2, None, 1).ours
    started(monkeypatch, {**TORCHRUN, world.LAUNCHER: "1"})
    assert world.find(2, None, 1).ours, "one of those that we have started, within another's environment"
