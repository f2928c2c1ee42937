"""A task that has a job: what the queue and the disk say of it, as events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from robustcl.tasks import Agenda, Event, Record, Task
from robustcl_plugins.launchers.slurm_queue import OVER, Seen


@dataclass
class SentTask:
    """A task that has a job."""

    task: Task
    job: str
    record: Record | None = None

    def still(self, record: Record | None, seen: Seen | None) -> bool:
        """Say whether its job waits or runs, or has done what the exit code alone says is done."""
        mine = record is not None and record.attempt.rpartition(".")[0] == self.job
        if mine and record is not None and record.code == 0 and self.task.outcome is None:
            return True
        ended = mine and record is not None and record.code is not None and 0 <= record.code < 128
        return not ended and seen is not None and seen.state not in OVER

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
