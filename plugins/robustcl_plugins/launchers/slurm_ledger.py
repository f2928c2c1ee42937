"""Which job a task is, on disk: who launches may die and finds its jobs again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

from robustcl.disk import Appender, make_folder


class Ledger:
    """A file of lines: what is about to be sent, the job that it became, what has ended, in the order of events.

    Attributes:
        jobs: task -> its job, of all that have not ended.
        limits: array -> how many of its tasks may run at once.
        unsure: names of jobs that were about to be sent when a process died: the queue knows whether they were.
        probe: the question, the job and the token of a probe that has not answered yet, "" where there is none.
        seen: questions that a node has answered well.
    """

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        self.path = folder / "jobs.jsonl"
        self.jobs: dict[str, str] = {}
        self.limits: dict[str, int] = {}
        self.unsure: dict[str, list[str]] = {}
        self.probe = ("", "", "")
        self.seen = set[str]()
        self._append()  # it is there for the nodes to be seen
        for line in self.path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError, KeyError):  # cut off with the machine that wrote it
                self._take(json.loads(line))

    def intend(self, name: str, tasks: Sequence[str]) -> None:
        """Note the name of a job, or of an array, before it is sent."""
        self._note({"name": name, "tasks": list(tasks)})

    def send(self, name: str, jobs: Sequence[str], limit: int) -> None:
        """Note the jobs, one a task in their order, that it became."""
        self._note({"name": name, "jobs": list(jobs), "limit": limit})

    def widen(self, array: str, limit: int) -> None:
        """Note that more tasks of an array may run at once."""
        self._note({"array": array, "limit": limit})

    def drop(self, name: str) -> None:
        """Note that what was about to be sent was not."""
        self._note({"name": name})

    def end(self, task: str) -> None:
        """Note that the job of a task has ended and was answered for."""
        self._note({"ended": task})

    def ask(self, question: str, job: str, token: str) -> None:
        """Note the job that was sent to answer whether nodes see what they have to; "" where it has failed to."""
        self._note({"asked": question, "job": job, "token": token})

    def see(self, question: str) -> None:
        """Note that a node sees what it was asked for."""
        self._note({"seen": question})

    def _note(self, line: dict[str, object]) -> None:
        self._append(json.dumps(line))
        self._take(line)

    def _append(self, *lines: str) -> None:
        with Appender(self.path) as file:
            file.write(lines)
            file.flush()

    def _take(self, line: dict[str, object]) -> None:
        match line:
            case {"name": str(name), "tasks": list(tasks)}:
                self.unsure[name] = tasks
            case {"name": str(name), "jobs": list(jobs), "limit": int(limit)}:
                self.jobs |= dict(zip(self.unsure.pop(name), jobs, strict=True))
                self.limits[jobs[0].partition("_")[0]] = limit
            case {"name": str(name)}:
                del self.unsure[name]
            case {"array": str(array), "limit": int(limit)}:
                self.limits[array] = limit
            case {"ended": str(task)}:
                self.jobs.pop(task, None)
            case {"asked": str(question), "job": str(job), "token": str(token)}:
                self.probe = question, job, token
            case {"seen": str(question)}:
                self.seen.add(question)
                self.probe = "", "", ""
