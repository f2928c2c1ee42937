"""What a job of SLURM does: it attends its task, and goes back to the queue where its time is up."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from robustcl.tasks import Record, attend_on_record, decode_task


class TaskJob:
    """A task as submitit carries it to a node: two lines of text, and how long it waits for a lost node's attempt.

    SIGUSR1 is what SLURM sends before the limit: the command saves and ends, and submitit then has the job queued
    again. SIGTERM is of a job that is preempted, which SLURM queues again itself, or cancelled, which ends.
    """

    def __init__(self, task: str, record: str, patience: float) -> None:
        self.task, self.record, self.patience = task, record, patience

    def __call__(self) -> None:
        """Attend the task; the process ends with its exit code."""
        heard = set[int]()
        array, job = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ["SLURM_JOB_ID"]
        name = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else job
        begun = Record(f"{name}.{os.environ.get('SLURM_RESTART_COUNT', 0)}", f"job {name} on {socket.gethostname()}")
        cores = os.environ.get("SLURM_CPUS_PER_TASK", "1")
        environment = {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": cores}
        code = attend_on_record(
            decode_task(self.task), Path(self.record), begun, environment, hear=heard.add, patience=self.patience
        )
        if signal.SIGUSR1 in heard and (code < 0 or code >= 128):
            from submitit.core.job_environment import JobEnvironment

            signal.raise_signal(JobEnvironment._usr_sig())  # submitit's own: it queues the job and does not return
        if code:
            sys.exit(code if code > 0 else 128 - code)

    def checkpoint(self) -> Any:
        """Return what the job does when it begins again: the same, its state lies on disk."""
        from submitit.core.utils import DelayedSubmission

        return DelayedSubmission(self)
