"""A study on a Ray cluster of three nodes: a task and a node that die, and the command killed and repeated."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.plugins.launchers.disturbed import Disturbed, hold_against
from tests.plugins.launchers.engines import without

# Ray leaves its sockets and files to the end of the process.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disturbed]:
    """The study, which a cluster has to know of."""
    if importlib.util.find_spec("ray") is None:
        without("ray", "ray is not installed")
    made = Disturbed(tmp_path, monkeypatch)
    yield made
    made.close()


@pytest.fixture
def cluster(study: Disturbed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Three nodes, each a process of its own; the head, which may not die, has no room for tasks."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "120")
    from ray.cluster_utils import Cluster

    made = Cluster()
    try:
        for cores in (0, 1, 1):
            made.add_node(num_cpus=cores, object_store_memory=80_000_000, include_dashboard=False)
        yield made
    finally:
        made.shutdown()
        signal.signal(signal.SIGTERM, before)


def test_it_equals_what_one_process_does_and_nothing_is_trained_twice(
    study: Disturbed, cluster: Any, counted_study: Path
) -> None:
    launcher = f'{{ use = "ray", address = "{cluster.address}", patience = 3.0 }}'
    study.start(launcher)
    first, *_ = study.hold("pretrain", 2)
    study.kill()
    os.kill(first, signal.SIGKILL)
    study.let_go("pretrain")
    study.start(launcher)
    study.hold("robust", 2)
    lost = next(iter(cluster.worker_nodes - {cluster.head_node}))
    assert lost.node_id[:8] in _nodes(study.folder / "out/tasks/ray")
    cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
    cluster.remove_node(lost, allow_graceful=False)
    study.let_go("robust")
    study.wait()
    assert f"again: node {lost.node_id[:8]} on " in study.said()
    hold_against(counted_study, study, killed={"pretrain": 1, "robust": 1})


def _nodes(records: Path) -> set[str]:
    """Return the nodes on which tasks run, as their records have them."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in records.glob("*.json")]
    return {one["place"].split()[1] for one in found if one["code"] is None}
