"""Processes of this machine: as many at once as there are slots, each with accelerators and cores of its own."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge

from robustcl.errors import UsageError
from robustcl.protocols import Need
from robustcl.tasks import Agenda, Event, Task, command_of

_LOOK = 0.1
"""Seconds between two looks at what runs."""


class Local:
    """Tasks as processes of this machine, one a slot.

    They end with this process, however it ends: by SIGTERM, and a minute later by force. Threads of the libraries are
    shared out among the slots, unless OMP_NUM_THREADS says otherwise.

    Args:
        slots: how many run at once; 0 is one for each accelerator, and one where there is none.
        retries: how often one that a signal has ended begins again.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "no source: the processes of one machine"
    here: ClassVar[bool] = True

    def __init__(self, *, slots: Annotated[int, Ge(0)] = 0, retries: Annotated[int, Ge(0)] = 2) -> None:
        self.slots, self.retries = slots, retries

    def launch(self, tasks: Sequence[Task], folder: Path) -> Iterator[Event]:
        """Run the tasks; ``folder`` is not used.

        Raises:
            UsageError: one needs more accelerators than there are.
        """
        devices = torch.cuda.device_count()
        slots = self.slots or max(devices, 1)
        for task in tasks:
            if devices and task.devices > min(slots, devices):
                raise UsageError(f"the task {task.name} computes on {task.devices} devices, and there are "
                                 f"{min(slots, devices)} slots with one each")  # fmt: skip
        agenda, free = Agenda(tasks, self.retries), list(range(slots))
        running: dict[str, tuple[list[int], subprocess.Popen[bytes]]] = {}
        yield from agenda.known()
        try:
            while not agenda.over:
                for task in agenda.ready():
                    wanted = max(task.devices, 1) if devices else 1
                    if len(free) < wanted:
                        break
                    mine = [free.pop(0) for _ in range(wanted)]
                    running[task.name] = mine, _start(task, mine, slots, devices)
                    yield agenda.start(task.name, _describe(mine, devices if task.devices else 0))
                time.sleep(_LOOK)
                for name, (mine, process) in [*running.items()]:
                    if (code := process.poll()) is not None:
                        _leave(process)
                        del running[name]
                        free = sorted([*free, *mine])
                        yield from agenda.finish(name, code)
        finally:
            for _, process in running.values():
                _leave(process)
            for _, process in running.values():
                process.wait()


def _start(task: Task, slots: Sequence[int], count: int, devices: int) -> subprocess.Popen[bytes]:
    environment = {"OMP_NUM_THREADS": str(max(_cores() // count, 1))} | dict(os.environ)
    if devices:
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(devices)))).split(",")
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(seen[slot % devices] for slot in slots if task.devices)
    # Of its own session: Ctrl-C is for the launcher, which then asks its tasks to end.
    return subprocess.Popen(command_of(task), env=environment, stdin=subprocess.PIPE, start_new_session=True)


def _leave(process: subprocess.Popen[bytes]) -> None:
    """Close what keeps a task alive: who attends it asks it to end."""
    assert process.stdin is not None
    process.stdin.close()


def _describe(slots: Sequence[int], devices: int) -> str:
    return ", ".join(f"cuda:{slot % devices}" if devices else f"slot {slot + 1}" for slot in slots)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
