"""How much memory a stage holds at most: of its accelerator, or of the whole process where it computes on the CPU."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch


class PeakMemory:
    """Watches from its making on; what else the process holds counts too, images that are kept in memory among it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._before = 0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def read(self) -> int | None:
        """Return the peak so far in bytes, ``None`` where the machine does not tell."""
        if self.device.type == "cuda":
            return max(self._before, torch.cuda.max_memory_allocated(self.device))
        found = _resident()
        return None if found is None else max(self._before, found)

    def carry(self, peak: object) -> None:
        """Take over what an interrupted attempt had read; what is no number of bytes is passed over."""
        self._before = peak if type(peak) is int and 0 <= peak < 2**53 else 0


def _resident() -> int | None:
    """Return the most memory that the process has had, in bytes (proc(5), VmHWM): since the last reset on Linux."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None
