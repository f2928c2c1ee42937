"""The launcher ``slurm`` on a real cluster of one node: jobs that are queued again, cancelled, blind, or refused."""

from __future__ import annotations

import importlib.util
import re
import socket
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
from tests.plugins.launchers.engines import (
    WAIT,
    Launching,
    a_task,
    hide,
    in_a_world_of_its_own,
    runs,
    wait_until,
    without,
)
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
@pytest.mark.parametrize("full", [False, True])
def test_a_folder_that_nodes_do_not_see_is_told_before_anything_is_sent(tmp_path: Path, full: bool) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    go = shared / "go"
    if full:
        _fill(go)
    hidden = tmp_path / "hidden"
    hidden.mkdir()

    def launch() -> str:
        if not hide(hidden):
            return "this machine lets nobody hide a folder from its node"
        told = list[str]()
        try:
            for event in Slurm(**FAST, wait=1.0 if full else 60.0).launch([a_task(hidden, "one", "")], hidden):  # type: ignore[arg-type]
                told.append(f"{event.state} {event.why}")
                go.touch()  # the first that is told is that the queue is full
        except UsageError as error:
            sent = Ledger(hidden / "slurm").jobs.values()
            queue = {job: seen.state for job, seen in slurm_queue.look().items()}
            told.append(f"{error} {len(sent)} {[queue.get(job) for job in sent]}")
        return "|".join([*told, f"{runs(hidden, 'one')} runs", *(path.name for path in hidden.rglob(".seen-*"))])

    said = in_a_world_of_its_own(launch)
    if "lets nobody" in said:
        without("slurm", said)
    host = socket.gethostname()
    sentence = (f"the machine {host} does not see the folder {hidden / 'slurm'} of this one: put it on a disk that all "
                "machines share; nothing began")  # fmt: skip
    if full:
        assert re.fullmatch(r"waits behind the job \d+, which looks whether nodes see the folders\|"
                            + re.escape(sentence) + r" 1 \['CANCELLED'\]\|0 runs", said), said  # fmt: skip
    else:
        said = said.partition("|")[2] if said.startswith("waits for the job ") else said
        assert said == f"{sentence} 0 []|0 runs"


def test_in_a_full_queue_tasks_wait_behind_the_job_that_looks(tmp_path: Path) -> None:
    go = tmp_path / "go"
    _fill(go)
    launching = Launching(Slurm(**FAST, wait=0.5), [a_task(tmp_path, "one", "")], tmp_path)  # type: ignore[arg-type]
    ledger = tmp_path / "slurm"
    wait_until(lambda: bool(Ledger(ledger).jobs), "the task is sent")
    (job,) = Ledger(ledger).jobs.values()
    wait_until(lambda: "Dependency" in slurm_queue.look()[job].reason, "it waits for the job that looks")
    go.touch()
    assert launching.states("one") == ["started", "done"]
    assert launching.events[0].state == "waits"
    assert launching.events[0].why.startswith("behind the job ")
    assert len(Ledger(ledger).seen) == 1
    assert not [*tmp_path.rglob(".seen-*"), *(ledger / "seen").iterdir()]
    assert Launching(Slurm(**FAST), [a_task(tmp_path, "two", "")], tmp_path).states("two") == ["started", "done"]
    assert len([seen for seen in slurm_queue.look().values() if seen.name == "robustcl-probe"
                and seen.state == "PENDING"]) == 0  # fmt: skip


def _fill(go: Path) -> None:
    """Fill the cluster until a file is there."""
    wrap = f"while [ ! -e {go} ]; do sleep 0.1; done"
    words = ["sbatch", "--parsable", "--exclusive", "--output=/dev/null", f"--wrap={wrap}"]
    job = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
    wait_until(lambda: slurm_queue.look()[job].state == "RUNNING", "the cluster is full")


def test_a_job_at_its_limit_saves_and_goes_back_to_the_queue(at_its_limit: tuple[Path, Launching]) -> None:
    folder, launching = at_its_limit
    assert launching.states("long") == ["started", "again", "started", "done"]
    assert runs(folder, "long") == 2
    assert (folder / "long.runs.saved").exists()
    assert {event.attempt for event in launching.events} == {1}, "a job that is queued again costs no attempt"
