"""How long an epoch of each stage takes on this machine: timed once for a study's directory, and kept there.

What is timed anew is never quite the same, and other epochs would be other runs: so the same command finds what it had
measured, and goes on where it was cut off.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from robustcl.composition.lock import lock
from robustcl.composition.plan import RecipePlan
from robustcl.disk import make_folder, read_json, write_atomically
from robustcl.errors import UsageError
from robustcl.train.engine import Engine

FILE = "timings.json"
"""The file of a study's directory that holds them."""


@dataclass(slots=True)
class Timings:
    """Seconds of an epoch of each stage, by what is trained; those of a device and a precision."""

    folder: Path
    device: str = "auto"
    precision: str = "32-true"
    found: dict[str, dict[str, float]] = field(default_factory=dict)

    def per_epoch(self, plan: RecipePlan, where: str) -> dict[str, float]:
        """Return the seconds of an epoch of each stage that is trained, timed where the directory holds none.

        Raises:
            UsageError: the number of images is unknown, or the file is damaged.
        """
        key = self._key(plan)
        if not self.found:
            self.found = self._read()
        if key not in self.found:
            self.found[key] = self._time(plan, where)
        return self.found[key]

    def keep(self, folder: Path) -> None:
        """Write what was timed into a study's directory."""
        make_folder(folder)
        write_atomically(folder / FILE, json.dumps(self.found, indent=1, sort_keys=True) + "\n")

    def _key(self, plan: RecipePlan) -> str:
        """Return a hash of all that decides how long an epoch is."""
        locked: dict[str, Any] = lock(plan)
        stages = [{**stage, "epochs": None} for stage in locked["stage"]]
        asked = [_say_machine(self.device), self.precision, locked["data"], locked["encoder"], locked["threat"], stages]
        return hashlib.blake2b(json.dumps(asked, sort_keys=True).encode(), digest_size=8).hexdigest()

    def _read(self) -> dict[str, dict[str, float]]:
        path, remedy = self.folder / FILE, "remove it: epochs are then timed again, and runs that were begun do not fit"
        if not path.is_file():
            return {}
        found = read_json(path, remedy=remedy)
        if not isinstance(found, dict) or not all(
            isinstance(table, dict) and all(_is_seconds(value) for value in table.values()) for table in found.values()
        ):
            raise UsageError(f"{path} is damaged: it does not hold the seconds of epochs; {remedy}")
        return found

    def _time(self, plan: RecipePlan, where: str) -> dict[str, float]:
        from robustcl.cost import estimate
        from robustcl.cost.timing import time_stages  # loads what trains

        cost = estimate(plan)
        trained = {stage.name: stage.epochs for stage in plan.stages if stage.epochs > 0}
        hours = time_stages(plan, cost, self.device, self.precision, trained)
        if set(hours) != set(trained):
            raise UsageError(f'{where}: {cost.sizes.source}; put them there, or take equal = "epochs"')
        return {name: 3600.0 * hours[name].hours / epochs for name, epochs in trained.items()}


def _say_machine(device: str) -> str:
    """Return what computes, by name: another machine has other seconds."""
    found = Engine(device).device
    return (
        torch.cuda.get_device_name(found)
        if found.type == "cuda"
        else f"{found.type} {platform.machine()} x {os.cpu_count()}"
    )


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
