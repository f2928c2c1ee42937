"""SLURM: what may begin goes into the queue as one array, and what becomes of it is read from there and the disk."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Gt

from robustcl.errors import RobustclError, UsageError
from robustcl.options import Count, Positive
from robustcl.protocols import Need
from robustcl.tasks import GRACE, Agenda, Event, Record, Task, encode_task, read_record
from robustcl_plugins.launchers import slurm_queue
from robustcl_plugins.launchers.slurm_job import TaskJob
from robustcl_plugins.launchers.slurm_ledger import Ledger
from robustcl_plugins.launchers.slurm_queue import OVER, QueueSilent, Seen

_LARGEST = 1000
"""Tasks of an array: one less is what SLURM takes where nobody has said otherwise (MaxArraySize)."""
_SILENCE = 3600.0
"""Seconds that the controller may be silent, as in a maintenance, before we give up: its jobs stay where they are."""
_LOOK = 0.5


class Slurm:
    """Tasks as jobs of a SLURM cluster, sent by submitit; no process has to stay for them to go on.

    All machines have to see the run's folder and this Python. A job that comes to its limit saves, by SIGUSR1, and goes
    back to the queue; so does one that is preempted, where the cluster queues it again. What was sent is remembered in
    ``folder``: after a death of this process the same call finds its jobs, queued, running or ended.

    Args:
        slots: how many tasks run at once; 0 is as many as the cluster lets run.
        partition: where, several as "a,b"; "" is the cluster's own choice.
        account: whom it is charged to; "" is the user's own.
        minutes: the time limit of a job; a longer task goes on in the next one.
        gpus: whether a task asks for as many GPUs as it has devices; by default where the partition has some.
        cpus: cores of a task; 0 is the cluster's own number.
        memory: of a task, as sbatch takes it: "16G"; "" is the cluster's own.
        sbatch: further parameters of sbatch, such as { qos = "high", constraint = "a100" }.
        save: seconds before its limit at which a job is told to save.
        requeues: how often a job that came to its limit goes back to the queue.
        retries: how often a task that a signal has ended begins again in a new job.
        poll: seconds between two questions to the queue.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "Yoo, Jette and Grondona, SLURM: Simple Linux Utility for Resource Management, JSSPP 2003"

    def __init__(
        self,
        *,
        slots: Annotated[int, Ge(0)] = 0,
        partition: str = "",
        account: str = "",
        minutes: Count = 240,
        gpus: bool | None = None,
        cpus: Annotated[int, Ge(0)] = 0,
        memory: str = "",
        sbatch: Mapping[str, str | int | bool] | None = None,
        save: Annotated[int, Gt(GRACE)] = 120,
        requeues: Annotated[int, Ge(0)] = 1000,
        retries: Annotated[int, Ge(0)] = 2,
        poll: Positive = 10.0,
    ) -> None:
        self.slots, self.partition, self.account, self.minutes = slots, partition, account, minutes
        self.gpus, self.cpus, self.memory, self.sbatch = gpus, cpus, memory, sbatch
        self.save, self.requeues, self.retries, self.poll = save, requeues, retries, poll

    @staticmethod
    def available() -> str | None:
        """Return None on a machine of a SLURM cluster, else a sentence saying what is missing."""
        if importlib.util.find_spec("submitit") is None:
            return "submitit is not installed; pip install 'robustcl[slurm]', or use the launcher local"
        for program in ("sbatch", "srun", "squeue"):
            if shutil.which(program) is None:
                return f"there is no {program} on this machine; go to a login node of the cluster"
        try:
            slurm_queue.has_accelerators("")
        except RobustclError as error:
            return f"no SLURM cluster answers on this machine: {error}"
        return None

    def launch(self, tasks: Sequence[Task], folder: Path) -> Iterator[Event]:
        """Send the tasks and follow them; ``folder`` takes the list of jobs, and what jobs leave behind.

        Raises:
            UsageError: the cluster has no such partition, or sbatch refuses the jobs: why.
            QueueSilent: the controller has not answered for an hour.
        """
        agenda, known = Agenda(tasks, self.retries), {task.name: task for task in tasks}
        yield from agenda.known()
        if agenda.over:
            return
        gpus = slurm_queue.has_accelerators(self.partition)
        sending = _Sending(self, folder.absolute() / "slurm", gpus if self.gpus is None else self.gpus)
        sent = {name: _Sent(known[name], job) for name, job in sending.recover().items() if name in known}
        asked, queue = float("-inf"), dict[str, Seen]()
        while not agenda.over:
            new = sending.send([task for task in agenda.ready() if task.name not in sent], sent)
            sent |= new
            time.sleep(min(_LOOK, self.poll))
            fresh = time.monotonic() - asked >= self.poll
            if fresh:
                asked, queue = time.monotonic(), dict(self._ask(asked))
            for name, one in [*sent.items()]:
                yield from one.begin(agenda, read_record(sending.record_of(name)))
                if (end := one.end(queue.get(one.job), fresh and name not in new)) is not None:
                    yield from one.finish(agenda, *end)
                    sending.ledger.end(name)
                    del sent[name]

    def _ask(self, last: float) -> Mapping[str, Seen]:
        end = time.monotonic() + _SILENCE
        while True:
            try:
                return slurm_queue.look()
            except QueueSilent as error:
                if time.monotonic() > end:
                    raise QueueSilent(f"{error}; jobs go on, and the same command watches them again") from None
                time.sleep(self.poll)


@dataclass
class _Sent:
    """A task that has a job."""

    task: Task
    job: str
    record: Record | None = None

    def begin(self, agenda: Agenda, record: Record | None) -> Iterator[Event]:
        """Take what the job has left on the disk: it began, or began again."""
        if record is None or record.attempt.rpartition(".")[0] != self.job:
            return  # of an earlier job
        before, self.record = self.record, record
        if before is not None and before.attempt != record.attempt:
            yield from agenda.finish(self.task.name, None, "its job went back to the queue")
        if before is None or before.attempt != record.attempt:
            yield agenda.start(self.task.name, record.place)

    def finish(self, agenda: Agenda, code: int | None, why: str) -> Iterator[Event]:
        """Tell how the job has ended."""
        if self.record is None:
            yield agenda.start(self.task.name, f"job {self.job}")
        yield from agenda.finish(self.task.name, code, why)

    def end(self, seen: Seen | None, fresh: bool) -> tuple[int | None, str] | None:
        """Return the code and the reason of the job's end, ``None`` while it may still go on."""
        record, code = self.record, None if self.record is None else self.record.code
        if record is not None and code is not None and 0 <= code < 128:
            return code, record.why
        if not fresh or (seen is not None and seen.state not in OVER):
            return None
        state = "GONE" if seen is None else seen.state
        if state in ("CANCELLED", "DEADLINE", "OUT_OF_MEMORY"):
            words = state.lower().replace("_", " ")
            return 1, f"its job {self.job} is {words}; its log is {self.task.log}"
        if state in ("PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "REVOKED"):
            return None, f"its job {self.job} ended as {state}"
        if code is not None:
            return code, ""
        if state == "TIMEOUT":
            return 137, f"its job {self.job} came to its time limit and could not save: give it more minutes"
        if record is None and seen is not None:
            return 1, (f"its job {self.job} ended on {seen.node or 'no node'} ({state}, {seen.reason}) before it could "
                       f"write: do all nodes see {self.task.folder} and this Python?")  # fmt: skip
        return (None, "") if seen is None else (137, f"its job {self.job} was killed ({state})")


class _Sending:
    """What goes into the queue, and how much of it at once."""

    def __init__(self, options: Slurm, folder: Path, gpus: bool) -> None:
        self.options, self.folder, self.gpus = options, folder, gpus
        self.ledger = Ledger(folder)

    def record_of(self, name: str) -> Path:
        """Return the file by which a job tells of its task."""
        return self.folder / "tasks" / f"{name}.json"

    def recover(self) -> Mapping[str, str]:
        """Return the jobs of tasks that were sent before; what was cut off while it was sent is cancelled."""
        while self.ledger.unsure:
            found = {job: seen.name for job, seen in slurm_queue.look().items() if seen.state not in OVER}
            for name in [*self.ledger.unsure]:
                if lost := [job for job, its in found.items() if its == name]:
                    slurm_queue.cancel(lost)
                else:
                    self.ledger.drop(name)
            time.sleep(_LOOK)
        return dict(self.ledger.jobs)

    def send(self, tasks: Sequence[Task], sent: Mapping[str, _Sent]) -> dict[str, _Sent]:
        """Send tasks as arrays, those with equally many devices together, as far as there are slots."""
        free, new = self._free(sent), dict[str, _Sent]()
        for devices in sorted({task.devices for task in tasks}):
            alike = [task for task in tasks if task.devices == devices]
            while alike and (free is None or free > 0):
                part, alike = alike[:_LARGEST], alike[_LARGEST:]
                limit = len(part) if free is None else min(free, len(part))
                free = None if free is None else free - limit
                new |= self._send(part, devices, limit)
        return new

    def _free(self, sent: Mapping[str, _Sent]) -> int | None:
        """Return how many more may run, ``None`` for any number; what is left of an array gets free slots first."""
        if not self.options.slots:
            return None
        left: dict[str, int] = {}
        for one in sent.values():
            array = one.job.partition("_")[0]
            left[array] = left.get(array, 0) + 1
        limits = self.ledger.limits
        free = self.options.slots - sum(min(limits[array], count) for array, count in left.items())
        for array, count in left.items():
            if (more := min(free, count - limits[array])) > 0:
                self.ledger.widen(array, limits[array] + more)
                slurm_queue.widen(array, limits[array])
                free -= more
        return max(free, 0)

    def _send(self, tasks: Sequence[Task], devices: int, limit: int) -> dict[str, _Sent]:
        import submitit

        name = f"robustcl-{time.time_ns():x}"
        executor: Any = submitit.SlurmExecutor(self.folder / "jobs", max_num_timeout=self.options.requeues)
        blind = f"{shlex.quote(str(self.ledger.path))} is not seen by this node"
        executor.update_parameters(
            job_name=name, time=self.options.minutes, array_parallelism=limit, wckey=None,
            setup=[f"[ -e {shlex.quote(str(self.ledger.path))} ] || {{ echo {blind} >&2; exit 3; }}"],
            srun_args=[f"--cpus-per-task={self.options.cpus}"] if self.options.cpus else None,
            additional_parameters=self._parameters(devices),
        )  # fmt: skip
        works = [TaskJob(encode_task(task), str(self.record_of(task.name))) for task in tasks]
        self.ledger.intend(name, [task.name for task in tasks])
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # sbatch's words are in the error
                with executor.batch():
                    jobs = [executor.submit(work) for work in works]
                ids = [str(job.job_id) for job in jobs]
        except (RuntimeError, OSError) as error:
            self.ledger.drop(name)
            said = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
            raise UsageError(f"sbatch refuses the jobs: {said[-1].removeprefix('sbatch: error: ')}") from None
        self.ledger.send(name, ids, limit)
        return {task.name: _Sent(task, job) for task, job in zip(tasks, ids, strict=True)}

    def _parameters(self, devices: int) -> dict[str, str | int | bool]:
        """Return the parameters of sbatch that are no default of the cluster."""
        asked: dict[str, str | int | bool] = {
            "partition": self.options.partition, "account": self.options.account, "mem": self.options.memory,
            "cpus-per-task": self.options.cpus, "gpus-per-node": devices if self.gpus else 0,
        }  # fmt: skip
        given = {key.replace("_", "-"): value for key, value in (self.options.sbatch or {}).items()}
        return {key: value for key, value in asked.items() if value} | {
            "requeue": True, "signal": f"USR1@{self.options.save}", **given
        }  # fmt: skip
