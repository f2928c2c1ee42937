"""The order of tasks: which may begin, which begins again, and what the end of one means for the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from robustcl.errors import UsageError
from robustcl.tasks.task import Event, State, Task


class Agenda:
    """Which tasks may begin, and what the end of one means for the others: what every launcher asks.

    Tasks whose outcome is there are done from the beginning. One that a signal has ended begins again, ``retries``
    times; one that ended by itself with an error would do so again, and fails for good. One that was lost with its
    machine, or preempted, begins again as often as a hundred times: it may be what its machines die of.

    Raises:
        UsageError: two tasks of one name, one that waits for a task that is not there, or for itself.
    """

    def __init__(self, tasks: Sequence[Task], retries: int = 2) -> None:
        self._tasks = {task.name: task for task in tasks}
        if len(self._tasks) < len(tasks):
            raise UsageError("two tasks have one name: give each its own")
        for task in tasks:
            for name in task.after:
                if name not in self._tasks:
                    raise UsageError(f"the task {task.name!r} waits for {name!r}, which is not among the tasks")
        self._retries = retries
        self._attempts: dict[str, int] = {}
        self._lost: dict[str, int] = {}
        self._running: dict[str, str] = {}
        self._ended: dict[str, State] = {task.name: "done" for task in tasks if task.is_done}
        self._refuse_circle()

    @property
    def over(self) -> bool:
        """Whether every task is done, has failed, or was left out."""
        return len(self._ended) == len(self._tasks)

    def known(self) -> list[Event]:
        """Return what is known before anything began: the tasks that are done."""
        return [Event(name, state, why="it was done before") for name, state in self._ended.items()]

    def ready(self) -> list[Task]:
        """Return the tasks that may begin, in their order."""
        return [
            task
            for name, task in self._tasks.items()
            if name not in self._ended
            and name not in self._running
            and all(self._ended.get(before) == "done" for before in task.after)
        ]

    def start(self, name: str, place: str) -> Event:
        """Note that a task has begun, at a place."""
        self._attempts[name] = self._attempts.get(name, 0) + 1
        self._running[name] = place
        return Event(name, "started", place, self._attempts[name])

    def finish(self, name: str, code: int | None, why: str = "") -> list[Event]:
        """Note that a task has ended; return what this means for it and for those that wait for it.

        Args:
            name: its name.
            code: of its process: 0, an error, or a signal's, as -9 or 137. ``None``: nobody knows, its machine was
                lost, or a scheduler took it away, which is counted as no attempt.
            why: in words, where the launcher knows more than the code says.
        """
        place, attempt = self._running.pop(name), self._attempts[name]
        task = self._tasks[name]
        if code == 0 and (task.outcome is None or task.is_done):
            self._ended[name] = "done"
            return [Event(name, "done", place, attempt)]
        why = why or _describe(code, task)
        if code is None:
            self._attempts[name] -= 1
            self._lost[name] = self._lost.get(name, 0) + 1
        if _is_cut_off(code) and self._attempts[name] <= self._retries and self._lost.get(name, 0) <= _MOST:
            return [Event(name, "again", place, attempt, why)]
        self._ended[name] = "failed"
        return [Event(name, "failed", place, attempt, why), *self._leave_out()]

    def _leave_out(self) -> Iterator[Event]:
        """End what waits, however indirectly, for what has failed."""
        found = True
        while found:
            found = False
            for name, task in self._tasks.items():
                lost = [before for before in task.after if self._ended.get(before) in ("failed", "left out")]
                if name not in self._ended and lost:
                    self._ended[name], found = "left out", True
                    yield Event(name, "left out", why=f"{lost[0]} is not done")

    def _refuse_circle(self) -> None:
        settled: set[str] = set()
        while fresh := {name for name, task in self._tasks.items() if name not in settled and settled >= {*task.after}}:
            settled |= fresh
        if stuck := [name for name in self._tasks if name not in settled]:
            raise UsageError(f"the task {stuck[0]!r} waits, over others, for itself")


_MOST = 100
"""How often a task may be lost with its machine."""


def _is_cut_off(code: int | None) -> bool:
    """Say whether a process was ended from outside, or ended because it was asked to."""
    return code is None or code < 0 or code >= 128


def _describe(code: int | None, task: Task) -> str:
    if code is None:
        return "nobody knows what became of it"
    if code == 0:
        return f"it ended well, and {task.outcome} is not there: do all machines see that folder?"
    if _is_cut_off(code):
        return f"a signal ended it ({-code if code < 0 else code - 128})"
    return f"it ended with the exit code {code}"
