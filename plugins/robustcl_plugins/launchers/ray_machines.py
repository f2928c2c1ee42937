"""The machines of a Ray cluster: what they have, and whether they see what tasks need, before one is given to any."""

from __future__ import annotations

import importlib
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robustcl.disk import sees
from robustcl.errors import UsageError
from robustcl.tasks import Sight, Task, explain_blind, explain_unanswered, leave_sights, probe_command, take_away
from robustcl_plugins.launchers.ray_actor import ask

_PATIENCE, _LATE = 60.0, 30.0
"""Seconds: for the answers, and for which a file that a machine has left may take to be seen here."""


def load_ray() -> Any:
    """Return the library, which is imported where it is used and may be missing where types are checked."""
    return importlib.import_module("ray")


def have_accelerators(asked: bool | None, tasks: Sequence[Task], cpus: int) -> bool:
    """Say whether tasks ask for GPUs, by default where there are some.

    Raises:
        UsageError: one wants more GPUs, or cores, than any machine has.
    """
    nodes = [node["Resources"] for node in _list_nodes()]
    if (cores := max((int(node.get("CPU", 0)) for node in nodes), default=0)) < cpus:
        raise UsageError(f"--launcher ray: cpus = {cpus}, and no machine of the cluster has more than {cores} cores")
    most = max((int(node.get("GPU", 0)) for node in nodes), default=0)
    gpus = most > 0 if asked is None else asked
    for task in tasks:
        if gpus and task.devices > most:
            raise UsageError(
                f"the task {task.name} computes on {task.devices} GPUs, and no machine of the cluster has more than "
                f"{most}"
            )
    return gpus


def look_around(tasks: Sequence[Task], folder: Path, cpus: int, gpus: bool) -> None:
    """Have every machine that may get a task look for what was left in the folders that tasks need.

    It takes no core, so a full cluster answers as well. A machine that comes later, or is silent for a minute, looks
    for its task's folder as it gets one.

    Raises:
        UsageError: a machine does not see a folder, or cannot run robustcl.
    """
    ray = load_ray()
    token = secrets.token_hex(8)
    sights, answers = leave_sights(tasks, folder, token), folder / f"seen-{token}"
    try:
        answers.mkdir()
        asked = {}
        for node in _list_nodes():
            if any(node["Resources"].get(kind, 0) < count for kind, count in (("CPU", cpus), ("GPU", int(gpus)))):
                continue
            place = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            remote = ray.remote(ask).options(num_cpus=0, max_retries=0, scheduling_strategy=place)
            asked[remote.remote(probe_command(sights, answers / node["NodeID"]))] = node
        for question in ray.wait([*asked], num_returns=len(asked), timeout=_PATIENCE)[0] if asked else ():
            _judge(question, asked[question], sights, answers)
    finally:
        take_away(sights)
        shutil.rmtree(answers, ignore_errors=True)


def _list_nodes() -> list[Mapping[str, Any]]:
    return [node for node in load_ray().nodes() if node["Alive"]]


def _judge(question: Any, node: Mapping[str, Any], sights: Sequence[Sight], answers: Path) -> None:
    ray = load_ray()
    name, code = str(node["NodeManagerHostname"]), 1
    try:
        name, code = ray.get(question)
    except ray.exceptions.RayTaskError:  # its worker could not even import this
        pass
    except ray.exceptions.RayError:
        return  # it was lost meanwhile: it gets no task
    name = f"{name} (node {node['NodeID'][:8]})"
    if code:
        raise explain_blind(name, code, sights)
    if not sees(answers / node["NodeID"], _LATE):
        raise explain_unanswered(name, answers.parent)
