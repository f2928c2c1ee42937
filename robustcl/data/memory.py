"""How much memory a process may still take, asked before an array of a stranger's size is made."""

from __future__ import annotations

from pathlib import Path

from robustcl.errors import DataError

_MEMINFO = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")


def require(size: int, what: str, remedy: str) -> None:
    """Raise DataError where ``size`` bytes are more than the machine has left; ``what`` begins the sentence."""
    free = available()
    if free is not None and size > free:
        raise DataError(f"{what} takes {say_bytes(size)} of memory and {say_bytes(free)} are free: {remedy}")


def available() -> int | None:
    """Return the bytes that are free, in the machine and in this container; ``None`` where nobody says."""
    found = [value for value in (_machine(), _container()) if value is not None]
    return min(found) if found else None


def say_bytes(size: int) -> str:
    """Return a number of bytes in words, "1.5 GiB"."""
    amount, units = float(size), ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while amount >= 1024 and len(units) > 1:
        amount /= 1024
        units.pop(0)
    return f"{amount:.3g} {units[0]}"


def _machine() -> int | None:
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None


def _container() -> int | None:
    """Return what the control group leaves; its own file caches are given back when they are needed."""
    try:
        limit = int((_GROUP / "memory.max").read_text(encoding="ascii"))
        used = int((_GROUP / "memory.current").read_text(encoding="ascii"))
        facts = dict(line.split() for line in (_GROUP / "memory.stat").read_text(encoding="ascii").splitlines())
        return max(limit - used + int(facts.get("inactive_file", 0)), 0)
    except (OSError, ValueError):
        return None
