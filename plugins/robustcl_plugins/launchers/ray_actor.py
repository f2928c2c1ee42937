"""What Ray runs of a task: an actor that starts the process which attends it, and ends with it."""

from __future__ import annotations

import importlib
import socket
import subprocess
from collections.abc import Sequence
from typing import Any


def ask(command: Sequence[str]) -> tuple[str, int]:
    """Run a command to its end on this machine; return the machine's name and the code, 127 where it is not there."""
    try:
        code = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True).returncode
    except OSError:
        code = 127
    return socket.gethostname(), code


class TaskActor:
    """A worker of Ray that holds a task's process by its standard input: when the worker dies, the task may save."""

    def run(self, command: Sequence[str], record: str, attempt: str, patience: float) -> None:
        """Attend the task to its end, and end the actor with it; what became of the task is in its record."""
        ray: Any = importlib.import_module("ray")

        node = ray.get_runtime_context().get_node_id()[:8]
        place = f"node {node} on {socket.gethostname()}"
        # Of its own session: signals of Ray are for its worker, those of the task come from who attends it.
        with subprocess.Popen(
            [*command, record, attempt, place, str(patience)], stdin=subprocess.PIPE, start_new_session=True
        ) as process:
            process.wait()
        ray.actor.exit_actor()

    def follow(self) -> None:
        """Return after ``run``: never, for it ends the actor; for one who launches again and waits for that."""
