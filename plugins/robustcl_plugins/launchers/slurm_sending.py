"""What goes into SLURM's queue, how much of it at once, and what of an earlier process is still there."""

from __future__ import annotations

import contextlib
import io
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from robustcl.disk import make_folder
from robustcl.tasks import Task, encode_task, read_record
from robustcl_plugins.launchers import slurm_queue
from robustcl_plugins.launchers.slurm_job import TaskJob
from robustcl_plugins.launchers.slurm_ledger import Ledger
from robustcl_plugins.launchers.slurm_queue import OVER
from robustcl_plugins.launchers.slurm_sent import SentTask

_LARGEST = 1000
"""Tasks of an array: one less is what SLURM takes where nobody has said otherwise (MaxArraySize)."""
_LOOK = 0.5


class SendingOptions(Protocol):
    """The options of the launcher that jobs are made with."""

    slots: int
    partition: str
    account: str
    minutes: int
    cpus: int
    memory: str
    sbatch: Mapping[str, str | int | bool] | None
    save: int
    requeues: int
    patience: float
    poll: float
    wait: float


class Sending:
    """What goes into the queue, and how much of it at once."""

    def __init__(self, options: SendingOptions, folder: Path, gpus: bool) -> None:
        self.options, self.folder, self.gpus = options, folder, gpus
        self.ledger = Ledger(folder)
        make_folder(folder / "tasks")  # a node that does not see it refuses its tasks

    def record_of(self, task: Task) -> Path:
        """Return the file by which a job tells of its task."""
        return self.folder / "tasks" / f"{task.key}.json"

    def recover(self, tasks: Sequence[Task]) -> dict[str, SentTask]:
        """Return the jobs of tasks that were sent before and still wait or run.

        A job that has ended without its task being done is forgotten: who asks for the task again has it sent again.
        What was cut off on its way into the queue is cancelled.
        """
        self._settle()
        queue, found = slurm_queue.look(), dict[str, SentTask]()
        for task in tasks:
            if (job := self.ledger.jobs.get(task.key)) is None:
                continue
            one = SentTask(task, job)
            if one.still(read_record(self.record_of(task)), queue.get(job)):
                found[task.name] = one
            else:
                self.ledger.end(task.key)
        return found

    def _settle(self) -> None:
        while self.ledger.unsure:
            found = {job: seen.name for job, seen in slurm_queue.look().items() if seen.state not in OVER}
            for name in [*self.ledger.unsure]:
                if lost := [job for job, its in found.items() if its == name]:
                    slurm_queue.cancel(lost)
                else:
                    self.ledger.drop(name)
            time.sleep(_LOOK)

    def send(self, tasks: Sequence[Task], sent: Mapping[str, SentTask], after: str = "") -> dict[str, SentTask]:
        """Send tasks as arrays, those with equally many devices together, as far as there are slots.

        after: a job that has to end well before they begin, "" for none; else they leave the queue.
        """
        free, new = self._free(sent), dict[str, SentTask]()
        for devices in sorted({task.devices for task in tasks}):
            alike = [task for task in tasks if task.devices == devices]
            while alike and (free is None or free > 0):
                part, alike = alike[:_LARGEST], alike[_LARGEST:]
                limit = len(part) if free is None else min(free, len(part))
                free = None if free is None else free - limit
                new |= self._send(part, devices, limit, after)
        return new

    def _free(self, sent: Mapping[str, SentTask]) -> int | None:
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

    def _send(self, tasks: Sequence[Task], devices: int, limit: int, after: str) -> dict[str, SentTask]:
        import submitit

        name = f"robustcl-{time.time_ns():x}"
        executor: Any = submitit.SlurmExecutor(self.folder / "jobs", max_num_timeout=self.options.requeues)
        blind = f"{shlex.quote(str(self.ledger.path))} is not seen by this node"
        executor.update_parameters(
            job_name=name, time=self.options.minutes, array_parallelism=limit, wckey=None,
            setup=[f"[ -e {shlex.quote(str(self.ledger.path))} ] || {{ echo {blind} >&2; exit 3; }}"],
            srun_args=[f"--cpus-per-task={self.options.cpus}"] if self.options.cpus else None,
            additional_parameters=self.parameters(devices, after),
        )  # fmt: skip
        patience = self.options.patience
        works = [TaskJob(encode_task(task), str(self.record_of(task)), patience) for task in tasks]
        self.ledger.intend(name, [task.key for task in tasks])
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # sbatch's words are in the error
                with executor.batch():
                    jobs = [executor.submit(work) for work in works]
                ids = [str(job.job_id) for job in jobs]
        except (RuntimeError, OSError) as error:
            # It stays unsure: sbatch may have given up waiting for an answer after the jobs were taken.
            raise slurm_queue.refuse(str(error) or type(error).__name__) from None
        self.ledger.send(name, ids, limit)
        return {task.name: SentTask(task, job) for task, job in zip(tasks, ids, strict=True)}

    def parameters(self, devices: int, after: str = "") -> dict[str, str | int | bool]:
        """Return the parameters of sbatch that are no default of the cluster."""
        asked: dict[str, str | int | bool] = {
            "partition": self.options.partition, "account": self.options.account, "mem": self.options.memory,
            "cpus-per-task": self.options.cpus, "gpus-per-node": devices if self.gpus else 0,
        }  # fmt: skip
        given = {key.replace("_", "-"): value for key, value in (self.options.sbatch or {}).items()}
        if after:
            others = [str(given["dependency"])] if "dependency" in given else []
            given |= {"dependency": ",".join([f"afterok:{after}", *others]), "kill-on-invalid-dep": "yes"}
        return {key: value for key, value in asked.items() if value} | {
            "requeue": True, "signal": f"USR1@{self.options.save}", **given
        }  # fmt: skip
