"""SLURM's queue, by the commands that every cluster has; no accounting is asked, which many lack."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robustcl.errors import RobustclError, UsageError

OVER = frozenset({
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED",
    "TIMEOUT",
})  # fmt: skip
"""States that a job does not leave; in every other one it waits, runs or is about to be queued again."""
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A job as the queue shows it: its state, the name it was given, its node, and why it waits or has ended."""

    state: str
    name: str
    node: str
    reason: str


class QueueSilent(RobustclError):
    """SLURM's controller does not answer."""


def look() -> Mapping[str, Seen]:
    """Return the jobs of this user that the queue still knows, each element of an array by itself.

    Raises:
        QueueSilent: the controller does not answer.
    """
    said = _ask("squeue", "-h", "-a", "-r", "-t", "all", "-u", str(os.getuid()), "-o", "%i|%T|%j|%N|%r")
    parts = [line.strip().split("|", 4) for line in said.splitlines()]
    return {job: Seen(state, name, node, reason) for job, state, name, node, reason in parts}


def look_at(job: str) -> tuple[str, int, str] | None:
    """Return a job's state, exit code and node, ``None`` where the queue does not know it (any more).

    Raises:
        QueueSilent: the controller does not answer.
    """
    try:
        said = _ask("scontrol", "--oneliner", "show", "job", job)
    except QueueSilent as error:
        if "Invalid job id" in str(error):
            return None
        raise
    parts = dict(part.split("=", 1) for part in said.split() if "=" in part)
    code, _, number = parts.get("ExitCode", "0:0").partition(":")
    node = parts.get("BatchHost") or parts.get("NodeList", "")
    return parts.get("JobState", ""), int(code) or (128 + int(number) if int(number or 0) else 0), node


def submit(command: Sequence[str], parameters: Mapping[str, str | int | bool]) -> str:
    """Send a job that runs a command on one node, with parameters of sbatch; return its number.

    Raises:
        UsageError: sbatch refuses it: why.
    """
    words = [f"--{key}" if value is True else f"--{key}={value}" for key, value in parameters.items() if value]
    try:
        return _ask("sbatch", "--parsable", *words, f"--wrap=exec {shlex.join(command)}").strip().partition(";")[0]
    except QueueSilent as error:
        raise refuse(str(error)) from None


def refuse(said: str) -> UsageError:
    """Return the sentence for what sbatch has said as it refused a job."""
    last = ([line for line in said.splitlines() if line.strip()] or ["no word"])[-1]
    return UsageError(f"sbatch refuses the jobs: {last.rpartition('sbatch: error: ')[2]}")


def cancel(jobs: Sequence[str]) -> None:
    """Take jobs out of the queue."""
    _ask("scancel", *jobs)


def widen(array: str, limit: int) -> None:
    """Let more tasks of an array run at once; where the cluster does not let users, they run as before."""
    with contextlib.suppress(QueueSilent):
        _ask("scontrol", "update", f"JobId={array}", f"ArrayTaskThrottle={limit}")


def has_accelerators(partition: str) -> bool:
    """Say whether a partition, by default the cluster's own, has GPUs.

    Raises:
        UsageError: there is no such partition.
        QueueSilent: the controller does not answer.
    """
    lines = [line.strip().split("|", 1) for line in _ask("sinfo", "-h", "-a", "-o", "%P|%G").splitlines()]
    kinds: dict[str, list[str]] = {}
    for name, kind in lines:
        kinds.setdefault(name.rstrip("*"), []).append(kind)
    wanted = partition.split(",") if partition else [name.rstrip("*") for name, _ in lines if name.endswith("*")]
    for name in wanted:
        if name not in kinds:
            raise UsageError(f"this cluster has no partition {name!r}; it has {', '.join(sorted(kinds)) or 'none'}")
    return any("gpu" in kind for name in wanted for kind in kinds[name])


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise QueueSilent(f"{command[0]} does not answer: {error}") from None
    if done.returncode:
        raise QueueSilent(f"{command[0]} does not answer: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
    return done.stdout
