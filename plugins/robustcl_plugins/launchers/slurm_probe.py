"""A first job of SLURM, seconds long: does a node see what tasks need? Nothing begins before it has said so."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from robustcl.errors import UsageError
from robustcl.tasks import Event, Sight, Task, explain_blind, explain_unanswered, leave_sights, probe_command, take_away
from robustcl_plugins.launchers import slurm_queue
from robustcl_plugins.launchers.slurm_queue import OVER, QueueSilent
from robustcl_plugins.launchers.slurm_sending import Sending
from robustcl_plugins.launchers.slurm_sent import SentTask

_MINUTES = 2
_LOOK, _ASK, _QUIET, _LATE = 0.2, 2.0, 3.0, 30.0
"""Seconds: between two looks at the disk, between two questions to the queue at least, until we say that we wait, and
for which what a node has written may take to be seen here."""


class Probe:
    """A job with the parameters of the tasks, on one node of those that they may get.

    Where it gets its turn soon, nothing is sent before it has answered; in a full queue the tasks are sent behind it,
    and leave the queue where it fails, so that nobody waits twice. What was answered once is not asked again.

    Attributes:
        job: its number while it has not answered, "" before and after.
    """

    def __init__(self, sending: Sending, tasks: Sequence[Task]) -> None:
        self._sending, self._tasks, self._ledger = sending, tasks, sending.ledger
        self._devices = max((task.devices for task in tasks), default=0)
        self._held, self._runs, self._behind = False, False, list[str]()
        self._asked, self._over = float("-inf"), float("inf")
        shared = sorted({str(one.folder) for task in tasks for one in task.shared} | {str(one.folder) for one in tasks})
        whole = [shared, self._parameters()]
        self._question = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]
        question, self.job, self._token = self._ledger.probe
        if question != self._question:
            self.job, self._token = "", ""

    def hold(self, tasks: Sequence[Task]) -> Iterator[Event]:
        """Ask, unless it was asked before, and wait for the answer as long as the options say.

        Raises:
            UsageError: sbatch refuses the job, or a node does not see a folder.
        """
        if self._held or self._question in self._ledger.seen:
            return
        self._held = True
        if not self.job:
            self._send()
        said, begun = "the job {}, which looks whether nodes see the folders", time.monotonic()
        told, end = begun + _QUIET, begun + self._sending.options.wait
        while not self.ask():
            if time.monotonic() >= end and not self._runs:
                yield Event(tasks[0].name, "waits", why=f"behind {said.format(self.job)}")
                return
            if time.monotonic() >= told:
                told = float("inf")
                yield Event(tasks[0].name, "waits", why=f"for {said.format(self.job)}")
            time.sleep(_LOOK)

    def note(self, sent: Mapping[str, SentTask]) -> None:
        """Take note of jobs that were sent behind it."""
        self._behind += [one.job for one in sent.values()] if self.job else []

    def ask(self) -> bool:
        """Say whether nothing is open any more.

        Raises:
            UsageError: a node does not see a folder, or nobody can say; what was sent behind it has left the queue.
        """
        if not self.job:
            return True
        if self._answer.exists() or self._comes():
            self._ledger.see(self._question)
            self._close()
            return True
        if time.monotonic() - self._asked < min(self._sending.options.poll, _ASK):
            return False
        self._asked = time.monotonic()
        try:
            found = slurm_queue.look_at(self.job)
        except QueueSilent:
            return False
        state, code, node = found or ("GONE", 0, "")
        self._runs = state != "PENDING"
        if state not in (*OVER, "GONE"):
            self._over = float("inf")
        elif state == "FAILED" and code:
            self._refuse(explain_blind(node, code, self._sights))
        elif state not in ("COMPLETED", "GONE"):
            self._refuse(UsageError(f"the job {self.job}, which looks whether nodes see the folders, ended as {state} "
                                    f"on {node or 'no node'}; nothing began: give the command again"))  # fmt: skip
        else:
            self._over = min(self._over, self._asked)
            if self._asked - self._over > _LATE:
                self._refuse(explain_unanswered(f"of the job {self.job} {node}".strip(), self._sending.folder))
        return False

    @property
    def _answer(self) -> Path:
        return self._sending.folder / "seen" / self._token

    def _comes(self) -> bool:
        with contextlib.suppress(OSError):
            return self._token in {path.name for path in self._answer.parent.iterdir()}
        return False

    def _send(self) -> None:
        self._token = secrets.token_hex(8)
        self._answer.parent.mkdir(exist_ok=True)
        command = probe_command(self._sights, self._answer)
        try:
            self.job = slurm_queue.submit(command, self._parameters())
        except UsageError:
            take_away(self._sights)
            raise
        self._ledger.ask(self._question, self.job, self._token)

    @functools.cached_property
    def _sights(self) -> tuple[Sight, ...]:
        """What was left for the node to see: a token, so that this can be done once more by who takes the job over."""
        return leave_sights(self._tasks, self._sending.folder, self._token)

    def _parameters(self) -> dict[str, str | int | bool]:
        asked = {key: value for key, value in self._sending.parameters(self._devices).items() if key != "signal"}
        return asked | {"job-name": "robustcl-probe", "time": _MINUTES, "output": "/dev/null", "chdir": "/"}

    def _refuse(self, error: UsageError) -> None:
        if self._behind:
            with contextlib.suppress(QueueSilent):
                slurm_queue.cancel(self._behind)
        self._ledger.ask("", "", "")
        self._close()
        raise error

    def _close(self) -> None:
        take_away(self._sights)
        with contextlib.suppress(OSError):
            self._answer.unlink(missing_ok=True)
        self.job = ""
