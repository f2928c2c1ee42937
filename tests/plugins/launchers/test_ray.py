"""The launcher ``ray`` on a cluster of three simulated nodes: one that dies, and a cluster of one's own."""

from __future__ import annotations

import importlib.util
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from robustcl.errors import UsageError
from robustcl.tasks import SharedFolder, Task, encode_task, read_record
from robustcl.testing import Check, PluginSubject, run
from robustcl.testing.launchers import LAUNCHER
from robustcl_plugins.launchers.ray_cluster import Ray
from tests.plugins.launchers.engines import WAIT, Launching, a_task, runs, wait_until, without

# Ray leaves its sockets and files to the end of the process.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[Any]:
    """A cluster for all tests of this file, each node a process of its own."""
    if importlib.util.find_spec("ray") is None:
        without("ray", "ray is not installed")
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_raylet_start_wait_time_s", "120")
        from ray.cluster_utils import Cluster

        made = Cluster()
        try:
            for _ in range(3):
                made.add_node(num_cpus=2, object_store_memory=80_000_000, include_dashboard=False)
            yield made
        finally:
            made.shutdown()
            signal.signal(signal.SIGTERM, before)


def fast(cluster: Any) -> dict[str, Any]:
    return {"address": cluster.address, "patience": 3.0}


@pytest.mark.golden("launcher", "ray")
@pytest.mark.parametrize("check", LAUNCHER)
def test_it_keeps_the_promises_of_a_launcher(check: Check, cluster: Any) -> None:
    before = signal.getsignal(signal.SIGTERM)
    report = run(PluginSubject("launcher", "ray", Ray, fast(cluster)), check)
    assert report.ok, report.message
    assert not report.skipped, report.message
    assert signal.getsignal(signal.SIGTERM) is before, "Ray has kept a signal"


def test_a_device_that_no_machine_has_and_a_cluster_that_is_not_there(cluster: Any, tmp_path: Path) -> None:
    task = a_task(tmp_path, "one", "")
    with pytest.raises(UsageError, match="the task one computes on 1 GPUs, and no machine of the cluster has more"):
        list(Ray(gpus=True, **fast(cluster)).launch([task], tmp_path))
    with pytest.raises(UsageError, match="no Ray cluster answers at nowhere"):
        list(Ray(address="nowhere").launch([task], tmp_path))
    assert runs(tmp_path, "one") == 0


def test_without_an_address_it_has_a_cluster_of_its_own_which_ends_with_it(tmp_path: Path) -> None:
    import ray

    tasks = [a_task(tmp_path, "one", ""), a_task(tmp_path, "two", "sys.exit(3)"), a_task(tmp_path, "three", "", "one")]
    events = list(Ray(slots=2).launch(tasks, tmp_path))
    assert {(event.task, event.state) for event in events} == {
        ("one", "started"), ("one", "done"), ("two", "started"), ("two", "failed"), ("three", "started"),
        ("three", "done"),
    }  # fmt: skip
    assert not ray.is_initialized()


def test_folders_that_a_node_does_not_see_are_told_before_a_task_begins(cluster: Any, tmp_path: Path) -> None:
    hidden, store = tmp_path / "hidden", tmp_path / "store"
    for folder in (hidden, store):
        folder.mkdir()
    for folder, blind in ((hidden, hidden / "ray"), (store, store)):
        shared = (SharedFolder(store, "name another store"),) if folder == store else ()
        task = replace(a_task(tmp_path, "one", ""), shared=shared)
        script = _SCRIPT.format(options=fast(cluster), task=encode_task(task), folder=str(hidden))
        alone = f'mount --make-rprivate / && mount -t tmpfs none {folder} && exec {sys.executable} -c "$0"'
        done = subprocess.run(["unshare", "--mount", "sh", "-c", alone, script], capture_output=True, text=True)
        if "Operation not permitted" in done.stderr:
            without("ray", "this machine lets nobody hide a folder from its nodes")
        assert done.returncode == 0, done.stderr
        said = done.stdout
        assert f"does not see the folder {blind} of this one: " in said, said + done.stderr
        assert said.startswith(f"the machine {socket.gethostname()} (node ")
        assert ("name another store; nothing began" if shared else "put it on a disk that all machines share") in said
        assert runs(tmp_path, "one") == 0
        assert not [*store.iterdir(), *hidden.rglob(".seen-*")], "what was left to be seen is taken away"


_SCRIPT = """
from pathlib import Path
from robustcl.errors import UsageError
from robustcl.tasks import decode_task
from robustcl_plugins.launchers.ray_cluster import Ray
try:
    print([event.state for event in Ray(**{options!r}).launch([decode_task({task!r})], Path({folder!r}))])
except UsageError as error:
    print(error)
"""


def test_what_ran_on_a_node_that_dies_begins_elsewhere_and_never_twice_at_once(cluster: Any, tmp_path: Path) -> None:
    tasks = [a_task(tmp_path, name, WAIT) for name in ("one", "two", "three", "four")]
    launching = Launching(Ray(**fast(cluster)), tasks, tmp_path)
    wait_until(lambda: all(runs(tmp_path, task.name) for task in tasks), "four tasks run")
    places = {task.name: _node(tmp_path, task) for task in tasks}
    head = cluster.head_node.node_id[:8]
    lost = next(node for node in cluster.worker_nodes if node.node_id[:8] in places.values())
    gone = [name for name, place in places.items() if place == lost.node_id[:8]]
    assert head != lost.node_id[:8]
    cluster.remove_node(lost, allow_graceful=False)
    wait_until(lambda: all(runs(tmp_path, name) == 2 for name in gone), "what was lost runs again")
    for task in tasks:
        (tmp_path / f"{task.name}.go").touch()
    for task in tasks:
        again = task.name in gone
        assert launching.states(task.name) == ["started", *["again", "started"] * again, "done"]
        assert runs(tmp_path, task.name) == 1 + again
        assert {event.attempt for event in launching.events} == {1}, "a lost machine costs no attempt"


def _node(folder: Path, task: Task) -> str:
    record = read_record(folder / "ray" / f"{task.key}.json")
    assert record is not None
    return record.place.split()[1]
