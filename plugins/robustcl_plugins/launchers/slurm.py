"""SLURM: what may begin goes into the queue as one array, and what becomes of it is read from there and the disk."""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from robustcl.errors import RobustclError
from robustcl.options import Count, Positive
from robustcl.protocols import Need
from robustcl.tasks import GRACE, Agenda, Event, Task, read_record
from robustcl_plugins.launchers import slurm_queue
from robustcl_plugins.launchers.slurm_probe import Probe
from robustcl_plugins.launchers.slurm_queue import QueueSilent, Seen
from robustcl_plugins.launchers.slurm_sending import Sending
from robustcl_plugins.launchers.slurm_sent import SentTask

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
        patience: seconds without a sign of life after which a task of a lost node begins elsewhere.
        poll: seconds between two questions to the queue.
        wait: seconds for a first job, which looks whether nodes see the folders, before tasks queue up behind it.
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
        patience: Positive = GRACE,
        poll: Positive = 10.0,
        wait: Annotated[float, Ge(0)] = 60.0,
    ) -> None:
        self.slots, self.partition, self.account, self.minutes = slots, partition, account, minutes
        self.gpus, self.cpus, self.memory, self.sbatch = gpus, cpus, memory, sbatch
        self.save, self.requeues, self.retries = save, requeues, retries
        self.patience, self.poll, self.wait = patience, poll, wait

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
            UsageError: the cluster has no such partition, sbatch refuses the jobs, or a node does not see a folder.
            QueueSilent: the controller has not answered for an hour.
        """
        agenda = Agenda(tasks, self.retries)
        yield from agenda.known()
        if agenda.over:
            return
        gpus = slurm_queue.has_accelerators(self.partition)
        sending = Sending(self, folder.absolute() / "slurm", gpus if self.gpus is None else self.gpus)
        sent = sending.recover([task for task in tasks if not task.is_done])
        probe, asked, queue = Probe(sending, tasks), float("-inf"), dict[str, Seen]()
        while not agenda.over:
            new = dict[str, SentTask]()
            if ready := [task for task in agenda.ready() if task.name not in sent]:
                yield from probe.hold(ready)
                new = sending.send(ready, sent, probe.job)
                probe.note(new)
            sent |= new
            probe.ask()
            time.sleep(min(_LOOK, self.poll))
            fresh = time.monotonic() - asked >= self.poll
            if fresh:
                asked, queue = time.monotonic(), dict(self._ask(asked))
            for name, one in [*sent.items()]:
                yield from one.begin(agenda, read_record(sending.record_of(one.task)))
                if (end := one.end(queue.get(one.job), fresh and name not in new)) is not None:
                    yield from one.finish(agenda, *end)
                    sending.ledger.end(one.task.key)
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
