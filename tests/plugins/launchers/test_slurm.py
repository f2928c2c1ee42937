"""The launcher ``slurm`` on a real cluster of one node: jobs that are queued again, cancelled, blind, or refused."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from robustcl.errors import UsageError
from robustcl.testing import Check, PluginSubject, run
from robustcl.testing.launchers import LAUNCHER
from robustcl_plugins.launchers import slurm_queue
from robustcl_plugins.launchers.slurm import Slurm
from robustcl_plugins.launchers.slurm_ledger import Ledger
from robustcl_plugins.launchers.slurm_sending import Sending
from tests.plugins.launchers.engines import WAIT, Launching, a_task, runs, wait_until, without
from tests.shared.slurm_cluster import slurm_cluster, why_not

FAST = {"poll": 0.3}
SAVES = "signal.signal(signal.SIGUSR1, lambda *_: (open(str(runs) + '.saved', 'w').close(), sys.exit(130)))"


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cluster for all tests of this file; whatever runs at its end is cancelled."""
    reason = why_not() or (None if importlib.util.find_spec("submitit") else "submitit is not installed")
    if reason:
        without("slurm", reason)
    with pytest.MonkeyPatch.context() as patch, slurm_cluster(tmp_path_factory.mktemp("slurm")) as conf:
        patch.setenv("SLURM_CONF", str(conf))
        yield


@pytest.fixture(scope="module")
def at_its_limit(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Launching]:
    """A job of a minute that is told to save before that, begun first: SLURM looks every half minute."""
    folder = tmp_path_factory.mktemp("limit")
    code = f"if not os.path.exists(str(runs) + '.saved'):\n {SAVES}\n time.sleep(300)"
    return folder, Launching(Slurm(minutes=1, save=120, **FAST), [a_task(folder, "long", code)], folder)


@pytest.fixture(scope="module", autouse=True)
def _early(at_its_limit: tuple[Path, Launching]) -> None:
    """Let it wait while the other tests run."""


@pytest.mark.golden("launcher", "slurm")
@pytest.mark.parametrize("check", LAUNCHER)
def test_it_keeps_the_promises_of_a_launcher(check: Check) -> None:
    report = run(PluginSubject("launcher", "slurm", Slurm, FAST), check)
    assert report.ok, report.message
    assert not report.skipped, report.message


def test_a_requeued_job_and_a_cancelled_one_and_slots(tmp_path: Path) -> None:
    tasks = [a_task(tmp_path, name, WAIT) for name in ("again", "gone", "third")]
    launching = Launching(Slurm(slots=2, **FAST), tasks, tmp_path)
    wait_until(lambda: runs(tmp_path, "again") == runs(tmp_path, "gone") == 1, "two tasks run")
    sent = Ledger(tmp_path / "slurm").jobs
    jobs = {task.name: sent[task.key] for task in tasks}
    assert len({job.partition("_")[0] for job in jobs.values()}) == 1, "they are one array"
    assert runs(tmp_path, "third") == 0, "there are two slots"
    subprocess.run(["scontrol", "requeue", jobs["again"]], check=True)
    slurm_queue.cancel([jobs["gone"]])
    for name in ("again", "third"):
        (tmp_path / f"{name}.go").touch()
    assert launching.states("again") == ["started", "again", "started", "done"]
    assert launching.states("gone") == ["started", "failed"]
    assert "is cancelled" in next(event.why for event in launching.events if event.state == "failed")
    assert launching.states("third") == ["started", "done"]
    assert [runs(tmp_path, name) for name in ("again", "gone", "third")] == [2, 1, 1]


def test_what_a_launcher_was_killed_over_is_not_sent_twice(tmp_path: Path) -> None:
    ledger, task = Ledger(tmp_path / "slurm"), a_task(tmp_path, "one", "")
    ledger.intend("robustcl-lost", ["one"])
    left = ["sbatch", "--job-name=robustcl-lost", "--output=/dev/null", f"--wrap=touch {tmp_path}/began; sleep 60"]
    subprocess.run(left, check=True, capture_output=True)
    assert Launching(Slurm(**FAST), [task], tmp_path).states("one") == ["started", "done"]
    queue = slurm_queue.look().values()
    assert [seen.state for seen in queue if seen.name == "robustcl-lost"] == ["CANCELLED"]


@pytest.mark.parametrize(
    ("options", "said"),
    [({"partition": "nowhere"}, "this cluster has no partition 'nowhere'; it has main"),
     ({"gpus": True}, "sbatch refuses the jobs: .*[Gg]eneric resource"),
     ({"sbatch": {"constraint": "a100"}}, "sbatch refuses the jobs: .*feature")],
)  # fmt: skip
def test_what_the_cluster_does_not_have_is_a_sentence(options: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        list(Slurm(**{**FAST, **options}).launch([a_task(tmp_path, "one", "")], tmp_path))  # type: ignore[arg-type]
    assert not Ledger(tmp_path / "slurm").jobs
    assert not Sending(Slurm(), tmp_path / "slurm", False).recover([])
    assert not Ledger(tmp_path / "slurm").unsure, "the queue has been asked whether it took them all the same"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_folder_that_nodes_do_not_see_is_told_at_once(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        said = "this machine lets nobody hide a folder from its node"
        try:
            if ctypes.CDLL(None).unshare(_NEW_MOUNTS) == 0 and _hide(tmp_path):
                events = Slurm(**FAST).launch([a_task(tmp_path, "one", "")], tmp_path)  # type: ignore[arg-type]
                said = " ".join(f"{event.state} {event.why}" for event in events)
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with open(reading) as pipe:
        said = pipe.read()
    if "lets nobody" in said:
        without("slurm", said)
    assert "failed" in said
    assert f"do all nodes see {tmp_path} and this Python?" in said
    assert runs(tmp_path, "one") == 0


_NEW_MOUNTS = 0x00020000


def _hide(folder: Path) -> bool:
    """Lay a disk of this process alone over a folder."""
    commands = (["mount", "--make-rprivate", "/"], ["mount", "-t", "tmpfs", "none", str(folder)])
    return all(subprocess.run(command, capture_output=True).returncode == 0 for command in commands)


def test_a_job_at_its_limit_saves_and_goes_back_to_the_queue(at_its_limit: tuple[Path, Launching]) -> None:
    folder, launching = at_its_limit
    assert launching.states("long") == ["started", "again", "started", "done"]
    assert runs(folder, "long") == 2
    assert (folder / "long.runs.saved").exists()
    assert {event.attempt for event in launching.events} == {1}, "a job that is queued again costs no attempt"
