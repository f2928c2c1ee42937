"""The processes of a run: how many on how many machines, and who starts them: we, torchrun, srun or Kubeflow.

They are named to Fabric and not left to it: it takes every job of a SLURM cluster for one whose processes srun has
started, waits for them, and warns on each machine that has the command; and Kubeflow it does not recognise.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass

from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.kubeflow import KubeflowEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from robustcl.errors import UsageError

LAUNCHER = "ROBUSTCL_LAUNCHER"
"""The variable by which a process that we have started knows the number of the one that started it."""

Devices = int | str | None
"""Processes on each machine: a number; ``"auto"``, one for each CUDA device; ``None``, as many as were started."""


@dataclass(frozen=True, slots=True)
class World:
    """So many processes on each of so many machines, and who starts them."""

    devices: int
    nodes: int
    environment: ClusterEnvironment

    @property
    def size(self) -> int:
        """All processes."""
        return self.devices * self.nodes

    @property
    def ours(self) -> bool:
        """Whether we start the processes."""
        return isinstance(self.environment, LightningEnvironment)


def find(devices: Devices, nodes: int | None, here: int) -> World:
    """Return the processes that are asked for, or those that somebody else has started, which must be as many.

    ``here``: what ``"auto"`` comes to where nobody has started any. One process of one machine is always had: it works
    by itself, whoever else was started.

    Raises:
        UsageError: others were started than are asked for, or other machines are asked for and nobody reaches them.
    """
    launch = None if devices == 1 and nodes in (None, 1) else _find_launch()
    if launch is None:
        if nodes not in (None, 1):
            raise UsageError(_nobody(devices, nodes))
        return World(here if devices == "auto" else int(devices or 1), 1, LightningEnvironment())
    _hold(launch, devices, nodes)
    return World(launch.devices, launch.nodes, launch.environment())


def require(devices: Devices, nodes: int | None) -> None:
    """Refuse a number of processes, one too, that is not the one that torchrun, srun or Kubeflow has started."""
    launch = _find_launch()
    if launch is not None:
        _hold(launch, devices, nodes)


@dataclass(frozen=True, slots=True)
class _Launch:
    """What somebody else has started: processes on each machine, machines, and how to start others."""

    by: str
    devices: int
    nodes: int
    environment: Callable[[], ClusterEnvironment]
    remedy: str


def _find_launch() -> _Launch | None:
    """Return who has started this process as one of several; ``None`` where we start the others, if any.

    A single task of srun, or a single replica of Kubeflow, may start others on its machine.
    """
    there = os.environ.keys()
    if LAUNCHER in there:
        return None
    shared = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= there
    if "TORCHELASTIC_RUN_ID" in there or (shared and "LOCAL_RANK" in there):
        size = _number("WORLD_SIZE")
        local = _number("LOCAL_WORLD_SIZE", size)
        remedy = "torchrun --nnodes {nodes} --nproc-per-node {devices}"
        return _even("torchrun", size, local, size // local, TorchElasticEnvironment, remedy)
    tasks = _number("SLURM_STEP_NUM_TASKS", 1)
    if tasks > 1:
        nodes = _number("SLURM_STEP_NUM_NODES", 1)
        remedy = "srun --nodes={nodes} --ntasks={size} --ntasks-per-node={devices}"
        return _even("srun", tasks, tasks // nodes, nodes, _Step, remedy)
    if shared and _number("WORLD_SIZE") > 1:
        size = _number("WORLD_SIZE")
        remedy = "one process a replica, or torchrun in each"
        return _Launch("Kubeflow", 1, size, KubeflowEnvironment, remedy)
    return None


def _even(by: str, size: int, devices: int, nodes: int, kind: Callable[[], ClusterEnvironment], remedy: str) -> _Launch:
    each = os.environ.get("SLURM_STEP_TASKS_PER_NODE", "") if by == "srun" else ""
    if devices * nodes != size or len(set(re.findall(r"(\d+)(?:\(x\d+\))?", each))) > 1:
        raise UsageError(
            f"{by} has started {size} processes unevenly over {max(nodes, 2)} machines{each and f' ({each})'}: start "
            "as many on each"
        )
    return _Launch(by, devices, nodes, kind, remedy)


def _hold(launch: _Launch, devices: Devices, nodes: int | None) -> None:
    if devices in (None, "auto", launch.devices) and nodes in (None, launch.nodes):
        return
    size = launch.devices * launch.nodes
    each = devices if isinstance(devices, int) else launch.devices
    wanted = {"devices": each, "nodes": nodes or launch.nodes, "size": each * (nodes or launch.nodes)}
    asked = " ".join([f"--devices {devices}"] * (devices is not None) + [f"--num-nodes {nodes}"] * (nodes is not None))
    raise UsageError(
        f"{asked} under {launch.by}, which has started {size} process{'es' * (size > 1)} on {launch.nodes} "
        f"machine{'s' * (launch.nodes > 1)}: leave it out, or write {launch.remedy.format(**wanted)}"
    )


def _nobody(devices: Devices, nodes: int | None) -> str:
    each = devices if isinstance(devices, int) else 1
    return (
        f"--num-nodes {nodes}: only torchrun, srun and Kubeflow start processes on several machines, and none of them "
        f"has started this one; write torchrun --nnodes {nodes} --nproc-per-node {each} --node-rank N --master-addr "
        f"HOST -m robustcl ... on each, or srun --nodes={nodes} --ntasks-per-node={each} robustcl ..."
    )


def _number(name: str, default: int | None = None) -> int:
    text = os.environ.get(name, "" if default is None else str(default))
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise UsageError(f"the environment says {name} = {text!r}, which is no number of processes: unset it")
    return int(text)


class _Step(SLURMEnvironment):
    """The tasks of one srun, by the variables of its step: those of the job may tell of more, or of other machines."""

    def __init__(self) -> None:
        super().__init__(auto_requeue=False)

    def world_size(self) -> int:
        return _number("SLURM_STEP_NUM_TASKS")

    @property
    def main_address(self) -> str:
        nodes = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_NODELIST", "127.0.0.1")
        return os.environ.get("MASTER_ADDR") or self.resolve_root_node_address(nodes)

    @property
    def main_port(self) -> int:
        """One for each step of each job: those of two may share a machine."""
        if "MASTER_PORT" in os.environ:
            return _number("MASTER_PORT")
        job, step = (int(os.environ.get(name, "0") or 0) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
        return 15000 + (job * 7 + step * 101) % 10000

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """The numbers are those of the step."""

    @staticmethod
    def _validate_srun_used() -> None:
        """It is used."""

    @staticmethod
    def _validate_srun_variables() -> None:
        """``srun --ntasks=2`` alone is as good as with ``--ntasks-per-node=2``."""
