"""Ray: a worker of the cluster a task, which survives who launches it and dies with its machine."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from robustcl.disk import make_folder
from robustcl.errors import UsageError, words
from robustcl.options import Count, Positive
from robustcl.protocols import Need
from robustcl.tasks import GRACE, Agenda, Event, Record, Task, command_of, read_record
from robustcl_plugins.launchers.ray_actor import TaskActor
from robustcl_plugins.launchers.ray_machines import have_accelerators, load_ray, look_around

_LOOK = 0.2
_NAMESPACE = "robustcl"
_BEGINS = 60.0
"""Seconds for which a task that Ray cannot begin is given to it anew."""


class Ray:
    """Tasks as processes of a Ray cluster's workers: an existing cluster, or one of this machine that is made for them.

    All machines have to see the run's folder and have this Python's packages. On an existing cluster tasks go on when
    this process dies or is stopped, and the same call finds them; a cluster of its own ends with it. What was on a
    machine that is lost begins again on another one. No usage statistics are sent.

    Args:
        slots: how many tasks run at once; 0 is as many as there is room for.
        address: of an existing cluster, "HOST:PORT", or "auto" for the one of this machine; "" makes one.
        cpus: cores of a task.
        gpus: whether a task asks for as many GPUs as it has devices; by default where the cluster has some.
        retries: how often a task that a signal has ended begins again.
        patience: seconds without a sign of life after which a task of a lost machine begins elsewhere.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "Moritz et al., Ray: A Distributed Framework for Emerging AI Applications, OSDI 2018"

    def __init__(
        self,
        *,
        slots: Annotated[int, Ge(0)] = 0,
        address: str = "",
        cpus: Count = 1,
        gpus: bool | None = None,
        retries: Annotated[int, Ge(0)] = 2,
        patience: Positive = GRACE,
    ) -> None:
        self.slots, self.address, self.cpus, self.gpus = slots, address, cpus, gpus
        self.retries, self.patience = retries, patience

    @property
    def here(self) -> bool:
        """Whether its tasks run on the machine that launches them, and end with it."""
        return not self.address

    @staticmethod
    def available() -> str | None:
        """Return None where Ray is installed, else a sentence saying what to do."""
        if importlib.util.find_spec("ray") is not None:
            return None
        version = ".".join(map(str, sys.version_info[:2]))
        return (f"ray is not installed; pip install 'robustcl[ray]', where it has a wheel for Python {version}, or use "
                "the launcher local")  # fmt: skip

    def launch(self, tasks: Sequence[Task], folder: Path) -> Iterator[Event]:
        """Start the tasks and follow them; ``folder`` takes what they leave behind.

        Raises:
            UsageError: there is no cluster at that address, a task needs more GPUs than any of its machines has, or a
                machine does not see a folder.
        """
        agenda = Agenda(tasks, self.retries)
        yield from agenda.known()
        if agenda.over:
            return
        with _session(self):
            crew = _Crew(self, folder.absolute() / "ray", have_accelerators(self.gpus, tasks, self.cpus))
            running, asked = dict[str, _Running](), self.here
            while not agenda.over:
                for task in agenda.ready():
                    if task.name not in running and (not self.slots or len(running) < self.slots):
                        if not (asked or crew.has_begun(task)):
                            look_around(tasks, crew.folder, self.cpus, crew.gpus)
                            asked = True
                        running[task.name] = crew.start(task)
                time.sleep(_LOOK)
                for name, one in [*running.items()]:
                    over = one.over()
                    yield from one.begin(agenda, read_record(one.path))
                    if one.record is not None:
                        crew.stillborn.pop(name, None)
                    if over:
                        del running[name]
                        if one.record is not None or not crew.tries_again(name):
                            yield from one.finish(agenda)


@dataclass
class _Running:
    """A task that has an actor."""

    task: Task
    path: Path
    attempt: str
    end: Any
    actor: Any
    """Ray ends one of its own cluster that nobody holds."""
    record: Record | None = None

    def over(self) -> bool:
        """Say whether the actor has ended."""
        ray = load_ray()
        return bool(ray.wait([self.end], timeout=0)[0])

    def begin(self, agenda: Agenda, record: Record | None) -> Iterator[Event]:
        """Take what the process has left on the disk: it began, or ended."""
        if record is None or record.attempt != self.attempt:
            return
        if self.record is None:
            yield agenda.start(self.task.name, record.place)
        self.record = record

    def finish(self, agenda: Agenda) -> Iterator[Event]:
        """Tell how it has ended."""
        record = self.record
        if record is None:
            yield agenda.start(self.task.name, "Ray")
            yield from agenda.finish(
                self.task.name,
                1,
                f"workers of Ray end before it begins: {self._why()}; do all machines see {self.path.parent}?",
            )
        elif record.code is None:
            yield from agenda.finish(self.task.name, None, f"{record.place} was lost")
        else:
            yield from agenda.finish(self.task.name, record.code, record.why)

    def _why(self) -> str:
        ray = load_ray()
        try:
            ray.get(self.end)
        except Exception as error:
            return words(error)
        return "nobody knows why"


class _Crew:
    """The actors of the tasks of one folder, named after both, so that a second launcher finds them."""

    def __init__(self, options: Ray, folder: Path, gpus: bool) -> None:
        ray = load_ray()
        self.options, self.folder, self.gpus = options, folder, gpus
        self._kind: Any = ray.remote(TaskActor)
        self._prefix = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
        self.stillborn: dict[str, float] = {}
        names = [name for name in ray.util.list_named_actors() if name.startswith(f"{self._prefix} ")]
        make_folder(folder)  # a machine that does not see it refuses its tasks
        self._found = {task: attempt for _, attempt, task in (name.split(" ", 2) for name in names)}

    def has_begun(self, task: Task) -> bool:
        """Say whether another launcher has started a task that is not followed yet."""
        return task.key in self._found

    def start(self, task: Task) -> _Running:
        """Start a task, or follow the actor that another launcher has started for it."""
        path = self.folder / f"{task.key}.json"
        if (attempt := self._found.pop(task.key, None)) is not None:
            with contextlib.suppress(ValueError):  # it has just ended
                actor = load_ray().get_actor(self._name(attempt, task), namespace=_NAMESPACE)
                return _Running(task, path, attempt, actor.follow.remote(), actor)
        attempt = f"{time.time_ns():x}"
        options: dict[str, Any] = {"num_gpus": task.devices} if self.gpus else {}
        if not self.options.here:
            options |= {"lifetime": "detached"}
        actor = self._kind.options(
            name=self._name(attempt, task),
            namespace=_NAMESPACE,
            num_cpus=self.options.cpus,
            max_restarts=0,
            **options,
        ).remote()
        end = actor.run.remote(command_of(task), str(path), attempt, self.options.patience)
        return _Running(task, path, attempt, end, actor)

    def tries_again(self, name: str) -> bool:
        """Say whether a task whose actor ended before it began gets another: Ray may not know yet of a lost machine."""
        now = time.monotonic()
        return now - self.stillborn.setdefault(name, now) < _BEGINS

    def _name(self, attempt: str, task: Task) -> str:
        return f"{self._prefix} {attempt} {task.key}"


@contextlib.contextmanager
def _session(options: Ray) -> Iterator[None]:
    """Connect to the cluster, or make one; signals stay with who had them."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = load_ray()
    own = not ray.is_initialized()
    if own:
        place: dict[str, Any] = {"address": options.address}
        if options.here:
            place = {"address": "local", "num_cpus": max(max(options.slots, 1) * options.cpus, os.cpu_count() or 1),
                     "include_dashboard": False}  # fmt: skip
        main = threading.current_thread() is threading.main_thread()
        before = signal.getsignal(signal.SIGTERM) if main else None
        try:
            ray.init(**place, namespace=_NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            raise UsageError(f"no Ray cluster answers at {options.address or 'this machine'}: {words(error)}") from None
        finally:
            if main:
                signal.signal(signal.SIGTERM, before)
    try:
        yield
    finally:
        if own:
            ray.shutdown()
